"""Content of threads: bytes as the serde made them, each stored once for a generation of a thread.

A *reference* is what a row says in place of content; the forms are told apart by their first element:

    [type, data]     small content itself
    bytes            the hash of a content row
    [0, [ref...]]    a list, element by element
    [1, hash]        a version of a list, in a row of its own; see `lists`
    [2, version]     the same, here
    [3, [hash...]]   content that is too large for one row, in pieces

A content row holds the type, NUL, and the data; its key ends with a hash of the row. Rows come from other machines:
what they hold is checked when it is read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from propagul import StoreCorrupt
from propagul_langgraph._saver.elements import Elements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from propagul_langgraph._saver.keys import Place
    from propagul_langgraph._saver.own import OwnRows

    Ref = bytes | list[object]

ELEMENTS, VERSION_ROW, VERSION_HERE, PIECES = 0, 1, 2, 3
HASH_BYTES: Final = 12
INLINE_BYTES: Final = 64
"""Content up to this size stands in the row that refers to it: a row of its own would cost more."""
PIECE_BYTES: Final = 512 * 1024
RECENT_S: Final = 600.0
"""How long content that was stored counts as there: nobody sweeps what became unreferenced since."""
_MSGPACK: Final = "msgpack"
_AS_MSGPACK: Final = b"msgpack\0"
_RECENT: Final = 8192


class MissingContent(StoreCorrupt):
    """A checkpoint refers to content that is not here: it has not arrived yet, or was pruned on another machine."""


class Content:
    """The content rows of a store.

    Args:
        rows: Where they are.
    """

    def __init__(self, rows: OwnRows) -> None:
        self._rows = rows
        self._recent: OrderedDict[str, float] = OrderedDict()
        self.elements = Elements(RECENT_S)

    def put(
        self, place: Place, kind: str, data: bytes, *, inline: int, known: AbstractSet[object] = frozenset()
    ) -> Ref:
        """Store content, as the serde made it, and return the reference to it: itself, up to `inline` bytes.

        What is `known`, as something refers to its hash already, or was stored just now, is not stored again. All else
        is, even if it stands there: nobody may have referred to it for so long that another machine is about to sweep
        it.
        """
        if len(data) <= inline:
            return [kind, bytes(data)]
        row = kind.encode() + b"\0" + data
        if len(row) <= PIECE_BYTES:
            return self.put_row(place, row, known)
        pieces = (row[start : start + PIECE_BYTES] for start in range(0, len(row), PIECE_BYTES))
        return [PIECES, [self.put_row(place, piece) for piece in pieces]]

    def put_row(self, place: Place, row: bytes, known: AbstractSet[object] = frozenset()) -> bytes:
        """Store one row; return its hash."""
        hashed = sha256(row).digest()[:HASH_BYTES]
        if hashed in known:
            return hashed
        key, now = place.content + content_name(hashed), time.monotonic()
        if now - self._recent.get(key, -RECENT_S) >= RECENT_S:
            self._rows.set(key, row)
            self._recent[key] = now
            self._recent.move_to_end(key)
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return hashed

    def forget(self, place: Place) -> None:
        """Do not count on content of a generation that was deleted."""
        prefix = place.content
        for key in [key for key in list(self._recent) if key.startswith(prefix)]:
            self._recent.pop(key, None)
        self.elements.forget(place)

    def get_row(self, place: Place, hashed: bytes) -> bytes:
        """The row with this hash.

        Raises:
            MissingContent: It is not here.
        """
        row = self._rows.get(place.content + content_name(hashed))
        if type(row) is not bytes:
            raise MissingContent(f"content of the thread {place.thread!r} is not here (yet), or was pruned elsewhere")
        return row

    def get(self, place: Place, ref: object) -> tuple[str, bytes]:
        """What was put, as `(kind, data)`.

        Raises:
            MissingContent: Some of it is not here.
            StoreCorrupt: That is no such reference.
        """
        if type(ref) is bytes:
            return _parted(self.get_row(place, ref))
        match ref:
            case [str(kind), bytes(data)]:
                return kind, data
            case [3, list(hashes)] if all(type(hashed) is bytes for hashed in hashes):
                return _parted(b"".join([self.get_row(place, hashed) for hashed in hashes]))
        raise StoreCorrupt(f"a row of the thread {place.thread!r} holds a reference that this version does not know")

    def get_many(self, place: Place, refs: Sequence[object]) -> list[tuple[str, bytes]]:
        """The same for many references; raises what `get` does."""
        prefix, row_of = place.content, self._rows.get
        rows = [row_of(prefix + ref.hex()) if type(ref) is bytes else None for ref in refs]
        return [
            _parted(row) if type(row) is bytes else self.get(place, ref) for row, ref in zip(rows, refs, strict=True)
        ]


def _parted(row: bytes) -> tuple[str, bytes]:
    if row.startswith(_AS_MSGPACK):
        return _MSGPACK, row[len(_AS_MSGPACK) :]
    kind, _, data = row.partition(b"\0")
    return kind.decode("utf-8", "replace"), data


def content_name(hashed: bytes) -> str:
    """How the key of a content row ends."""
    return hashed.hex()
