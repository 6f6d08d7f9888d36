"""Amounts and spans in words, for tables that people read."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def ago(seconds: float | None) -> str:
    """Say how long ago something was heard; None is never."""
    if seconds is None:
        return "never"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def of_total(used_bytes: int, total_bytes: int) -> str:
    """Say `3.1/16.0 GiB`, both in the unit that suits the total."""
    power = min(max(total_bytes.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    scale = 1024**power
    return f"{used_bytes / scale:.1f}/{total_bytes / scale:.1f} {_UNITS[power]}"


def clock(at_s: float) -> str:
    """Say a moment of a clock, by this machine's time zone: `2026-11-30 08:51:34`."""
    try:
        return datetime.fromtimestamp(at_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return "at no time"
