"""How far back a store can be read: a length of time, `none` or `all`. A directory keeps what it was last told.

    state/retention.json     {"format": 1, "retention": "7d"}, or a number of seconds; not there: `none`

It belongs to the directory and not to a program: the next one to open it, which may know nothing of retention, must not
drop what the one before it kept.
"""

from __future__ import annotations

import json
import logging
import math
import re
from typing import TYPE_CHECKING, Final

from propagul import _system
from propagul.errors import StoreCorrupt, StoreError
from propagul.log.refusal import refusals_of

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
FILE: Final = "retention.json"

_log = logging.getLogger("propagul.store")

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LENGTH: Final = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)


class Retention:
    """How long events stay readable after compaction, by `history` and `at`.

    It costs disk: everything written in that time, and the snapshots made meanwhile (each as large as the state).

    Args:
        length: `none` keeps what recovery needs and no more; `all` keeps everything for ever; or a whole number of
            `s`, `m`, `h`, `d` or `w`, such as `12h` or `7d`.
        seconds: Instead of `length`.

    Attributes:
        seconds: 0 for `none`, infinity for `all`.
        given: What it was made of.

    Raises:
        ValueError, TypeError: It is none of these.
    """

    __slots__ = ("given", "seconds")

    def __init__(self, length: str | None = None, *, seconds: float | None = None) -> None:
        if (length is None) == (seconds is None):
            raise ValueError("a retention has a length such as '7d', or seconds=...; exactly one of them")
        self.seconds = _seconds_of(length) if seconds is None else _checked(seconds)
        self.given: str | float = self.seconds if length is None else length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retention) and self.seconds == other.seconds

    def __hash__(self) -> int:
        return hash(self.seconds)

    def __repr__(self) -> str:
        return f"Retention({self.given!r})" if isinstance(self.given, str) else f"Retention(seconds={self.given!r})"

    def __str__(self) -> str:
        return self.given if isinstance(self.given, str) else f"{self.given:g}s"


class KeptRetention:
    """What a directory says, which another process may change at any time.

    Args:
        path: The directory.
        wanted: What it shall say from `settle` on; None for what it says already.
    """

    def __init__(self, path: Path, wanted: Retention | None) -> None:
        self._file, self._wanted = path / FILE, wanted

    def settle(self) -> None:
        """Write down what was asked for, unless it stands there. It also mends a damaged file.

        Raises:
            StoreError: A newer version wrote the file, or the disk refused.
        """
        if self._wanted is None:
            return
        try:
            is_there = self.current() == self._wanted and self._file.exists()
        except StoreCorrupt:
            is_there = False
        if not is_there:
            with refusals_of(f"{self._file} cannot be written"):
                said = {"format": FORMAT, "retention": self._wanted.given}
                _system.write_private(self._file, json.dumps(said).encode())

    def current(self) -> Retention:
        """What it says now.

        Raises:
            StoreCorrupt: The file is damaged.
            StoreError: A newer version wrote it, or the disk does not give it.
        """
        try:
            with refusals_of(f"{self._file} cannot be read"):
                return self._read()
        except (ValueError, TypeError) as error:
            raise StoreCorrupt(
                f"{self._file} is damaged, and how much history to keep is not known; say it once with retention=..., "
                "until then all is kept"
            ) from error

    def seconds(self) -> float:
        """What it says now, in seconds; infinity where that cannot be read, for what is dropped does not come back."""
        try:
            return self.current().seconds
        except StoreError as error:
            _log.warning("store.retention_not_known %s", error)
            return math.inf

    def __str__(self) -> str:
        try:
            return str(self.current())
        except StoreError:
            return f"all, for {FILE} cannot be read"

    def _read(self) -> Retention:
        try:
            said = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return NONE
        match said:
            case {"format": int(number)} if number > FORMAT:
                raise StoreError(f"{self._file} has format {number}, made by a newer version; this one reads {FORMAT}")
            case {"format": int(), "retention": str(length)}:
                return Retention(length)
            case {"format": int(), "retention": seconds}:
                return Retention(seconds=seconds)
        raise ValueError("it does not say")


def _seconds_of(length: object) -> float:
    if not isinstance(length, str):
        raise TypeError(f"a retention is a text such as '7d', not {type(length).__name__}; or use seconds=...")
    if length in ("none", "all"):
        return 0.0 if length == "none" else math.inf
    found = _LENGTH.fullmatch(length)
    if found is None:
        raise ValueError(f"a retention is 'none', 'all', or a whole number with s, m, h, d or w, not {length[:40]!r}")
    return float(int(found[1]) * _UNIT_S[found[2]])


def _checked(seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"seconds of a retention are a number, not {type(seconds).__name__}")
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds of a retention are more than 0 and finite, not {seconds}; see 'none' and 'all'")
    return float(seconds)


NONE: Final = Retention("none")
