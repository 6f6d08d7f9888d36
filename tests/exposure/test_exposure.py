"""Which engines are exposed, to whom, and with which line that ends; nothing else is reported."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from fleet_app.exposure import Exposure, ExposureWatch, Listening, examine, listening, own_addresses
from fleet_app.exposure.holes import HOLES, holes_of_ollama
from fleet_app.exposure.watch import look
from fleet_app.presence import BackendPresence

if TYPE_CHECKING:
    from fleet_app.presence import BackendCondition

LAN = ("127.0.0.1", "::1", "192.168.1.5", "fd00::5")
PUBLIC = (*LAN, "203.0.114.9")
EVERYWHERE = "0.0.0.0"


def engine(
    kind: str = "vllm",
    url: str = "http://127.0.0.1:8000",
    condition: BackendCondition = "ready",
    version: str | None = None,
) -> BackendPresence:
    return BackendPresence(kind=kind, url=url, condition=condition, version=version)  # type: ignore[arg-type]


def found(
    *engines: BackendPresence, at: str = EVERYWHERE, program: str = "", addresses: tuple[str, ...] = LAN,
    platform: str = "linux", keyed: tuple[str, ...] = (),
) -> tuple[Exposure, ...]:  # fmt: skip
    ports = (8000, 11434, 8788)
    sockets = [Listening(at, port, program) for port in ports]
    return examine(engines, sockets, addresses, keyed=keyed, platform=platform)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "::ffff:127.0.0.1"])
def test_an_engine_on_loopback_is_not_exposed(host: str) -> None:
    assert found(engine(), at=host) == ()


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.168.1.5", "::ffff:192.168.1.5", "fd00::5", "100.64.0.7"])
def test_an_engine_beyond_loopback_is_exposed_to_the_lan(host: str) -> None:
    (exposure,) = found(engine(), at=host)
    assert exposure.severity == "warning"
    assert exposure.words == (
        "vLLM at port 8000 answers everybody on the local network without a key: they can use its models"
    )


@pytest.mark.parametrize("host", [EVERYWHERE, "203.0.114.9"])
def test_an_engine_on_a_public_address_is_exposed_to_the_internet(host: str) -> None:
    (exposure,) = found(engine("ollama", "http://127.0.0.1:11434"), at=host, addresses=PUBLIC)
    assert exposure.severity == "danger"
    assert "on the internet, at 203.0.114.9, unless a firewall stands in between" in exposure.words
    assert exposure.words.endswith("they can run, pull and delete models")


def test_a_public_ipv6_address_counts_only_for_a_socket_that_takes_ipv6() -> None:
    addresses = (*LAN, "2606:4700::9")
    assert [e.severity for e in found(engine(), at=EVERYWHERE, addresses=addresses)] == ["warning"]
    assert [e.severity for e in found(engine(), at="::", addresses=addresses)] == ["danger"]


@pytest.mark.parametrize("condition", ["needs_key", "unreachable", "unhealthy"])
def test_an_engine_that_did_not_answer_without_a_key_is_not_exposed(condition: BackendCondition) -> None:
    assert found(engine(condition=condition)) == ()


def test_an_engine_that_was_asked_with_a_key_proves_nothing() -> None:
    assert found(engine(), keyed=("http://127.0.0.1:8000",)) == ()


def test_sockets_that_are_no_engines_are_not_reported() -> None:
    """The node's own port among them: it lets in members only."""
    assert found() == ()
    assert len(found(engine())) == 1


def test_an_engine_elsewhere_that_answered_without_a_key_is_told_as_that() -> None:
    (exposure,) = found(engine("ollama", "http://192.168.1.77:11434"))
    assert exposure.severity == "warning"
    assert "Ollama at 192.168.1.77 answered this box over the network without a key" in exposure.words
    assert exposure.remedy.startswith("on that box: sudo systemctl edit ollama")
    (exposure,) = found(engine("vllm", "https://203.0.114.9"))
    assert (exposure.severity, "over the internet" in exposure.words) == ("danger", True)


def test_an_engine_named_by_an_address_of_this_box_is_of_this_box() -> None:
    (exposure,) = found(engine(url="http://192.168.1.5:8000"), at="192.168.1.5")
    assert exposure.words.startswith("vLLM at port 8000")


@pytest.mark.parametrize(
    ("kind", "platform", "part"),
    [
        ("ollama", "linux", "Environment=OLLAMA_HOST=127.0.0.1:11434, then: sudo systemctl restart ollama"),
        ("ollama", "darwin", "launchctl unsetenv OLLAMA_HOST"),
        ("ollama", "win32", "remove OLLAMA_HOST"),
        ("llamacpp", "linux", "llama-server --host 127.0.0.1"),
        ("vllm", "linux", "vllm serve --host 127.0.0.1 (or --api-key KEY"),
        ("tgi", "linux", "--hostname 127.0.0.1"),
        ("lmstudio", "darwin", '"Serve on Local Network" off'),
        ("localai", "linux", "--address 127.0.0.1:11434"),
        ("openai", "linux", "have it listen on 127.0.0.1 only"),
    ],
)
def test_each_engine_has_its_line(kind: str, platform: str, part: str) -> None:
    (exposure,) = found(engine(kind, "http://127.0.0.1:11434"), platform=platform)
    assert part in exposure.remedy


@pytest.mark.parametrize("program", ["docker-proxy", "com.docker.backend.exe", "rootlessport"])
def test_an_engine_in_a_container_is_published_to_loopback(program: str) -> None:
    (exposure,) = found(engine(), program=program)
    assert "-p 127.0.0.1:8000:" in exposure.remedy


@pytest.mark.parametrize(
    ("version", "count"),
    [
        ("0.17.1", 0), ("0.17.0", 1), ("0.17.1-rc2", 0), ("v0.9.6", 2), ("0.1.46", 3), ("0.1.9", 4), ("0.30.7", 0),
        ("0.0.0", 0), ("", 0), (None, 0), ("nightly", 0), ("0.17", 0), ("0.17.0.1", 0), ("9" * 400, 0),
    ],
)  # fmt: skip
def test_holes_are_those_that_were_closed_later(version: str | None, count: int) -> None:
    assert holes_of_ollama(version) == HOLES[:count]


def test_a_known_hole_is_a_note_on_loopback_and_a_danger_where_others_reach_it() -> None:
    old = engine("ollama", "http://127.0.0.1:11434", version="0.14.0")
    (note,) = found(old, at="127.0.0.1")
    assert note.severity == "note"
    assert "Ollama 0.14.0 has a known hole, CVE-2026-7482 (and 1 older)" in note.words
    assert "closed in 0.17.1" in note.words
    worst, other = found(old)
    assert (worst.severity, other.severity) == ("danger", "warning")
    assert "update it" in worst.remedy


def test_the_worst_comes_first_and_there_is_a_bound() -> None:
    many = [engine(url=f"http://192.168.1.{n}:8000") for n in range(10, 60)]
    shown = found(*many, engine("ollama", "http://127.0.0.1:11434"), addresses=PUBLIC)
    assert len(shown) == 16
    assert shown[0].severity == "danger"


def test_a_version_of_any_length_fits_into_an_exposure() -> None:
    (note,) = found(engine("ollama", "http://127.0.0.1:11434", version="0.1.0" + "-" * 250), at="::1")
    assert len(note.words) <= 512


def test_a_real_socket_is_seen_with_its_program() -> None:
    with socket.create_server(("127.0.0.2", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = frozenset(server.getsockname()[1] for server in (one, other))
        sockets = listening(ports)
        assert sockets is not None
        assert {(item.host, item.port) for item in sockets} == {one.getsockname(), other.getsockname()}
        assert all("python" in item.program for item in sockets)
    assert "127.0.0.1" in own_addresses()


def test_the_watch_finds_an_engine_that_listens_everywhere_and_forgets_it_when_it_is_gone() -> None:
    async def scenario() -> None:
        with socket.create_server(("", 0)) as server:
            seen = [engine(url=f"http://127.0.0.1:{server.getsockname()[1]}")]
            watch = ExposureWatch(lambda: tuple(seen), notice_s=0.01)
            task = asyncio.create_task(watch.run())
            async with asyncio.timeout(20):
                while not watch.exposures():
                    await asyncio.sleep(0.01)
                assert watch.exposures()[0].words.startswith("vLLM at port")
                seen.clear()
                while watch.exposures():
                    await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(scenario())


def test_without_leave_to_see_sockets_nothing_of_this_box_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def refuse(**_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert listening(frozenset({8000})) is None
    assert look([engine()]) == ()
