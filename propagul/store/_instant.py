"""A namespace as it was at one instant, read in slices while writers go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.crdt import Dot
from propagul.crdt.row import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from propagul.crdt import Block, Entry, Row, VersionVector
    from propagul.crdt.capture import Capture
    from propagul.crdt.listing import Listing

_SLICE_ROWS: Final = 1024


class SnapshotCut(NamedTuple):
    """What a snapshot of a namespace writes down: vector, own part of it, rows."""

    vector: VersionVector
    own: list[Entry]
    rows: Capture


def blocks_of(capture: Capture | Listing, lock: AbstractContextManager[object]) -> Iterator[Block]:
    """The rows of a capture in slices. The lock is held for one at a time."""
    while True:
        with lock:
            block = capture.read(_SLICE_ROWS)
            if not block:
                capture.close()
                return
        yield block


def rows_of(blocks: Iterable[Block]) -> Iterator[tuple[str, Row]]:
    """The same rows one by one."""
    for block in blocks:
        for key, payload, kind, stamp, origin in block.plain:
            yield key, plain(Dot(stamp, origin), kind, payload)
        yield from block.other
