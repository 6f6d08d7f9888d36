"""A namespace as it was at one instant, read in slices while writers go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.crdt import Dot
from propagul.crdt.row import plain

if TYPE_CHECKING:
    import threading

    from propagul.crdt import Entry, Row, VersionVector
    from propagul.crdt.capture import Capture

_SLICE_ROWS: Final = 1024


class SnapshotCut(NamedTuple):
    """What a snapshot of a namespace writes down: vector, own part of it, rows."""

    vector: VersionVector
    own: list[Entry]
    rows: Capture


def rows_of(capture: Capture, lock: threading.Lock) -> list[tuple[str, Row]]:
    """Every row of a capture. The lock is held for a slice at a time."""
    found: list[tuple[str, Row]] = []
    more = True
    while more:
        with lock:
            block = capture.read(_SLICE_ROWS)
            more = len(block) > 0
            if not more:
                capture.close()
        found += [(key, plain(Dot(stamp, origin), kind, held)) for key, held, kind, stamp, origin in block.plain]
        found += block.other
    return found
