from __future__ import annotations

import pytest

from fleet_app.backends import normalise_url
from fleet_app.backends.engine_url import loopback_port, port_of
from fleet_app.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("localhost:11434", "http://localhost:11434"),
        ("192.168.1.20:8000/", "http://192.168.1.20:8000"),
        (" http://GPU-Box.local:8000/v1/ ", "http://gpu-box.local:8000"),
        ("http://box/v1", "http://box"),
        ("http://box:80/", "http://box"),
        ("https://box:443/v1", "https://box"),
        ("https://box:80", "https://box:80"),
        ("http://box/llm/v1/", "http://box/llm"),
        ("http://box/v1beta", "http://box/v1beta"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("HTTP://box", "http://box"),
    ],
)
def test_an_engine_has_one_address_however_it_is_typed(typed: str, kept: str) -> None:
    assert normalise_url(typed) == kept
    assert normalise_url(kept) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "ftp://box",
        "unix:///run/engine.sock",
        "http://",
        "http://:8000",
        "http://box:port",
        "http://box:99999",
        "http://box:0",
        "http://box:8000?model=x",
        "http://box/#top",
        "http://a b",
        "http://box\n.evil",
        "http://[::1",
        "http://[fe80::zz]:1",
        "http://box/" + "x" * 300,
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(typed: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        normalise_url(typed)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("typed", ["http://me:hunter2@box:8000", "hunter2@box", "https://hunter2:@box/v1"])
def test_credentials_in_an_address_are_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(ConfigError, match="must not hold a user name or password") as refusal:
        normalise_url(typed)
    assert "hunter2" not in str(refusal.value)


def test_the_port_and_the_loopback_of_an_address_are_known() -> None:
    assert port_of("http://box") == 80
    assert port_of("https://box/llm") == 443
    assert loopback_port("http://localhost:8080") == 8080
    assert loopback_port("http://[::1]") == 80
    assert loopback_port("http://127.9.9.9:5") == 5
    assert loopback_port("http://192.168.1.2:8080") is None
    assert loopback_port("http://localhost:8080/llm") is None
