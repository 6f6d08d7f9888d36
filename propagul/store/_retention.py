"""How far back a store can be read: a length of time, `none` or `all`."""

from __future__ import annotations

import math
import re
from typing import Final

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

    Raises:
        ValueError, TypeError: It is none of these.
    """

    __slots__ = ("_text", "seconds")

    def __init__(self, length: str | None = None, *, seconds: float | None = None) -> None:
        if (length is None) == (seconds is None):
            raise ValueError("a retention has a length such as '7d', or seconds=...; exactly one of them")
        self.seconds = _seconds_of(length) if seconds is None else _checked(seconds)
        self._text = f"seconds={seconds!r}" if length is None else repr(length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Retention) and self.seconds == other.seconds

    def __hash__(self) -> int:
        return hash(self.seconds)

    def __repr__(self) -> str:
        return f"Retention({self._text})"


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
