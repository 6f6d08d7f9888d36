"""Log lines, and that no canary gets through them."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from fleet_app.cli.logs import LOGGERS, configure_logging
from fleet_app.config import load

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET, TOKEN = "canary-secret-of-the-room", "canary-token-of-an-invite"


@pytest.fixture(autouse=True)
def _silent_afterwards() -> Iterator[None]:
    yield
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)


def configured(log_format: str, verbose: int = 0) -> logging.Logger:
    environ = {"PROPAGUL_GOSSIP_SECRET": SECRET, "PROPAGUL_JOIN": TOKEN, "PROPAGUL_LOG_FORMAT": log_format}
    configure_logging(load({}, environ=environ), verbose=verbose)
    return logging.getLogger("fleet_app.somewhere")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_passes_in_a_message_an_argument_or_a_traceback(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    logger = configured(log_format)
    logger.warning("secret %s and %r", SECRET, {"Authorization": "Bearer canary-key"})
    try:
        int(TOKEN)
    except ValueError:
        logger.exception("broke with " + TOKEN)  # noqa: G003 - as careless code would
    text = capsys.readouterr().err
    assert "canary" not in text
    assert text.count("***") >= 3
    assert "ValueError" in text


def test_json_lines_are_json_and_hold_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    configured("json").warning("mdns.unavailable reason=%s", "é\n")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["event"]) == (
        "warning",
        "fleet_app.somewhere",
        "mdns.unavailable reason=é\n",
    )
    assert line["at"].endswith("+00:00")


def test_text_lines_stay_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    configured("text").warning("name=%s", "a\x1b[31m\nb")
    text = capsys.readouterr().err
    assert text.endswith(" warning name=a [31m b\n")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("verbose", "levels"), [(0, ["warning"]), (1, ["info", "warning"]), (2, ["debug", "info", "warning"])]
)
def test_each_v_shows_more(capsys: pytest.CaptureFixture[str], verbose: int, levels: list[str]) -> None:
    logger = configured("json", verbose)
    for level in ("debug", "info", "warning"):
        getattr(logger, level)("x")
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == levels
