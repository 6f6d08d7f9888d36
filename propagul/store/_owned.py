"""Owned rows: under some prefixes each member writes beneath its own identity only, and every replica checks it.

The key names the owner (`nodes/<id>`, `nodes/<id>/...`), the id is the owner's public key, and the value is signed. So
what may stand there is a function of the row alone. The rule of this file: *an owned row is its owner's write of the
highest rank, and nothing else*. It is a join of its own, by rank and not by what was seen: a peer that claims to have
seen, superseded or removed such a row changes nothing, and its siblings never gather. Deleting one writes a signed word
that there is no value.

What a peer can do is keep quiet: a value that it holds back, or says it has applied, arrives later or not at all. That
is so for all rows, and only verified origins would end it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.crdt import REGISTER, STAMP_MAX, Apart, Block, Dot, Evicted, Keep
from propagul.crdt.row import plain
from propagul.errors import LocalProtocolError, PeerProtocolError
from propagul.store import _signed
from propagul.store._sealed import FORGED_MAX, SealedRows, nothing
from propagul.store._signed import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from propagul.crdt import Batch, Op, Payload, Replica, Row, Sibling, VersionVector
    from propagul.crdt.block import Plain
    from propagul.link import Identity


class OwnedRows(SealedRows):
    """The owned rows of one namespace. See `SealedRows`."""

    def __init__(self, room: str, space: str, owned: tuple[str, ...], identity: Identity) -> None:
        super().__init__(room, space, owned, identity)
        self.prefixes = owned
        self.apart = Apart(owned, newest)

    # --- written here --------------------------------------------------------------------------------------------

    def check(self, ops: Iterable[Op]) -> None:
        """See `SealedRows.check`."""
        for key, kind, action in ops:
            if self.is_others(key) or (kind != REGISTER and key.startswith(self.prefixes)):
                raise self._not_ours(key)
            if isinstance(action, Keep) and key.startswith(self.prefixes):
                raise LocalProtocolError(f"{key[:80]!r} never has concurrent values to choose from")

    def seal(self, batch: Batch, row: Callable[[str], Row]) -> Batch:
        """See `SealedRows.seal`: its owned values are signed."""
        if not any(op.key.startswith(self.prefixes) for op in batch.ops):
            return batch
        self.check(batch.ops)
        return batch._replace(ops=[self._sealed(op, batch.dot, row) for op in batch.ops])

    def _sealed(self, op: Op, dot: Dot, row: Callable[[str], Row]) -> Op:
        if not op.key.startswith(self.prefixes) or isinstance(op.action, Keep):
            return op
        highest = max((_signed.rank(sibling)[0] for sibling in row(op.key).siblings), default=0)
        ahead = min(max(highest + 1 - dot.stamp, 0), STAMP_MAX - dot.stamp)
        place = Place(self._room, self._space, op.key, dot)
        return op._replace(action=_signed.sign(self._identity, place, ahead, op.action))

    # --- received ------------------------------------------------------------------------------------------------

    def admit(self, block: Block) -> Block:
        """See `SealedRows.admit`."""
        prefixes = self.prefixes
        if not any(p[0].startswith(prefixes) for p in block.plain) and not any(
            key.startswith(prefixes) for key, _ in block.other
        ):
            return block
        check = _Check(self, self._standing)
        kept = [p for p in block.plain if not p[0].startswith(prefixes) or check.plain(p)]
        owned = [item for item in block.other if item[0].startswith(prefixes)]
        kept += [p for p in (check.row(key, row) for key, row in owned) if p is not None]
        return Block(kept, [item for item in block.other if not item[0].startswith(prefixes)])

    def recovered(self, replica: Replica) -> None:
        """See `SealedRows.recovered`: what stands under owned keys and their owners have not signed is dropped."""
        for key in [key for key in replica.table.slots if key.startswith(self.prefixes)]:
            row = replica.row(key)
            kept = _Check(self, nothing).row(key, row)
            if kept is None:
                replica.forget(key)
            elif not row.is_plain or row.siblings[0].payload is not kept[1]:
                replica.load(Block([kept], []))

    def is_good(self, key: str, sibling: Sibling) -> bool:
        """Whether an owned key's owner wrote this there."""
        if sibling.kind != REGISTER:
            return False
        return _signed.holds(self.named_in(key), Place(self._room, self._space, key, sibling.dot), sibling.payload)


class _Check:
    """The rows of one block, looked at one by one."""

    def __init__(self, owned: OwnedRows, standing: Callable[[str], Row]) -> None:
        self._owned, self._standing = owned, standing
        self._forged = 0

    def plain(self, row: Plain) -> bool:
        """Whether a plain row may stand here."""
        key, payload, kind, stamp, origin = row
        return bool(self._good(key, plain(Dot(stamp, origin), kind, payload)))

    def row(self, key: str, row: Row) -> Plain | None:
        """What may stand here of any row, by itself: contexts say what anybody may claim."""
        good = self._good(key, row)
        if not good:
            return None
        (stamp, origin), kind, payload = max(good, key=_signed.rank)
        return key, _read(payload), kind, stamp, origin

    def _good(self, key: str, row: Row) -> list[Sibling]:
        known = self._standing(key).siblings
        good = [sibling for sibling in row.siblings if sibling in known or self._owned.is_good(key, sibling)]
        if not good or len(good) < len(row.siblings):
            self._owned.note_refused(key, wholly=not good)
            self._forged += sum(_signed.is_signed(sibling.payload) for sibling in row.siblings) - len(good)
            if self._forged > FORGED_MAX:
                raise PeerProtocolError("a block full of values that their owners have not signed")
        return good


def newest(ours: Row, theirs: Row, here: VersionVector) -> Row:
    """The join of owned rows: the write of the highest rank, of what is here and what was not here before."""
    came = [sibling for sibling in theirs.siblings if not here.covers(sibling.dot)]
    if not came and len(ours.siblings) < 2:
        return ours
    best = max((*ours.siblings, *came), key=_signed.rank)
    return ours if len(ours.siblings) == 1 and best is ours.siblings[0] else plain(*best)


def _read(payload: Payload) -> Payload:
    return payload.read() if isinstance(payload, Evicted) else payload
