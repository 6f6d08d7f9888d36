"""Log lines on stderr: prose for people or one JSON object a line, and no secret in either.

The library and the fleet log to standard loggers that are silent until this is called. One filter stands before the
only handler and replaces every secret this process was given, wherever it turns up in a line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleet_app.logbook import LOGBOOK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet_app.config import Settings

LOGGERS = ("propagul", "fleet_app")
_HIDDEN = "***"
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\",;]+")


class Redaction(logging.Filter):
    """Renders a record and takes the secrets out of it; tracebacks included."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        longest_first = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._secrets = re.compile("|".join(re.escape(secret) for secret in longest_first)) if longest_first else None

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace message and traceback by their redacted text. Always lets the record pass."""
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self.clean(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        known = text if self._secrets is None else self._secrets.sub(_HIDDEN, text)
        return _BEARER.sub(rf"\1 {_HIDDEN}", known)


class JsonLines(logging.Formatter):
    """One JSON object a line: `at` (UTC), `level`, `logger`, `event`, and `trace` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        return json.dumps(line | ({"trace": record.exc_text} if record.exc_text else {}), ensure_ascii=False)


class TextLines(logging.Formatter):
    """Time, level, event: for people. Control characters never reach the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        event = "".join(c if c.isprintable() else " " for c in record.getMessage())
        return f"{clock} {record.levelname.lower():<7} {event}" + (f"\n{record.exc_text}" if record.exc_text else "")


def configure_logging(settings: Settings, *, verbose: int) -> None:
    """Send the records of `LOGGERS` to stderr: warnings, with one `-v` events, with two everything.

    Events are kept for `propagul fleet logs`, whatever is printed.
    """
    printed = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(printed)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    secret = settings.secret.get_secret_value() if settings.secret else ""
    keys = [key.get_secret_value() for key in settings.backend_keys.values()]
    redaction = Redaction([secret, *settings.join, *keys])
    for one in (handler, LOGBOOK):
        one.filters = [redaction]
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler, LOGBOOK]
        logger.propagate = False
        logger.setLevel(min(printed, logging.INFO))
