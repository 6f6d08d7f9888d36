"""What this process logged lately, in memory for `propagul fleet logs`: redacted, bounded, gone with the process."""

from __future__ import annotations

import logging
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Final

LINES_MAX: Final = 2000
LINE_CHARACTERS_MAX: Final = 2000

Line = dict[str, object]


class Logbook(logging.Handler):
    """Keeps the newest records as JSON objects. Put a redaction filter before it."""

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._lines: deque[Line] = deque(maxlen=LINES_MAX)
        self._told = 0
        self._turn = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        with self._turn:
            self._told += 1
            self._lines.append(
                {
                    "number": self._told,
                    "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                    "level": record.levelname.lower(),
                    "event": record.getMessage()[:LINE_CHARACTERS_MAX],
                }
            )

    def lines(self, *, after: int = 0, limit: int = LINES_MAX) -> list[Line]:
        """The newest lines with a number beyond `after`, the oldest of them first."""
        with self._turn:
            found = [line for line in self._lines if int(str(line["number"])) > after]
        return found[-limit:] if limit > 0 else []


LOGBOOK: Final = Logbook()
"""There is one log a process, and so one of these."""
