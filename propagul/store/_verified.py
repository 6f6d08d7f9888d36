"""Verified rows: in a namespace of `verify="origin"` every value proves who wrote it, and every replica checks it.

The rule of this file: *what a row holds is a function of the set of its authors' signed words, and of nothing else that
a peer says*. Each value tells, under its author's signature, what of its row the author had seen. A row holds the
values that no other has seen, directly or by what that one had seen; where authors lie and each of some values claims
to have seen the next, it holds them all, and of one dot's two payloads the greater. A removal is a signed word as well,
that stands in the row unseen. So contexts, vectors, floors and snapshot joins of others remove nothing, and joining any
row at any time is safe: what somebody held back may come later from whoever has it (`propagul.gossip.compare`).

What a row holds is shown without the removals (`opened`). Nothing here is dropped for good but by a later word of
somebody who saw it; so the floor never rises, and what was removed costs its proof.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul.crdt import ABSENT, GONE, REMOVE, VALUE_BYTES_MAX, Apart, Block, Dot, Evicted, Keep, Op, Origin, Packed
from propagul.crdt.payload import Absent, Remove
from propagul.crdt.row import Row, plain
from propagul.errors import LimitExceeded, PeerProtocolError
from propagul.link.identity import node_id, public_bytes
from propagul.store import _batch_proof
from propagul.store._batch_proof import FIRST, Leaf, Place
from propagul.store._chains import Chains
from propagul.store._sealed import FORGED_MAX, SealedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from propagul.crdt import Batch, Payload, Replica, Sibling, Stamp, VersionVector
    from propagul.link import Identity
    from propagul.store._batch_proof import Link, Proof

ALL: Final = ("",)
"""How all keys begin."""

SIBLINGS_ADMITTED: Final = 1024
"""A row with more is not admitted: joining takes the square of this, and every store cuts rows down from 64 on."""

_log = logging.getLogger("propagul.store")


@dataclass(slots=True)
class _Pen:
    """What an origin of ours is written with: its salt, and the newest link of its chain."""

    salt: bytes
    newest: Link = FIRST


class _Word(NamedTuple):
    """One value of a row, and what its author had seen beside its own origin's writes."""

    sibling: Sibling
    seen: Mapping[Origin, Stamp]

    def supersedes(self, other: _Word) -> bool:
        (stamp, origin), mine = other.sibling.dot, self.sibling.dot
        return self.seen.get(origin, 0) >= stamp or (mine.origin == origin and mine.stamp > stamp)


class VerifiedRows(SealedRows):
    """All rows of one namespace, each of which proves itself. See `SealedRows`."""

    is_whole = True
    prefixes = ALL

    def __init__(self, room: str, space: str, owned: tuple[str, ...], identity: Identity) -> None:
        super().__init__(room, space, owned, identity)
        self.apart = Apart(ALL, unseen)
        self._pens: dict[Origin, _Pen] = {}
        self._chains = Chains()

    @property
    def rules(self) -> str:
        """See `SealedRows.rules`."""
        return ", ".join(filter(None, ("verify=origin", super().rules)))

    # --- written here --------------------------------------------------------------------------------------------

    def fresh_origin(self) -> Origin:
        """See `SealedRows.fresh_origin`."""
        salt = _batch_proof.fresh_salt()
        origin = _batch_proof.origin_of(public_bytes(self._identity.node), salt)
        self._pens[origin] = _Pen(salt)
        return origin

    def recovered(self, replica: Replica) -> None:
        """See `SealedRows.recovered`: a fresh origin, for the salt of the one before is not kept."""
        replica.renew(self.fresh_origin())

    def is_barred(self, batch: Batch, row: Callable[[str], Row]) -> bool:
        """See `SealedRows.is_barred`: somebody claims to have seen what is only being written."""
        stamp, origin = batch.dot
        return any(row(op.key).context.get(origin, 0) >= stamp for op in batch.ops)

    def seal(self, batch: Batch, row: Callable[[str], Row]) -> Batch:
        """See `SealedRows.seal`."""
        self.check(batch.ops)
        leaves = [self._leaf(op, batch.dot.origin, row(op.key)) for op in batch.ops]
        place, pen = Place(self._room, self._space, batch.dot), self._pens[batch.dot.origin]
        payloads, pen.newest = _batch_proof.prove(self._identity, pen.salt, place, pen.newest, leaves)
        return batch._replace(ops=[_sealed(*pair) for pair in zip(leaves, payloads, strict=True)])

    def _leaf(self, op: Op, origin: Origin, row: Row) -> Leaf:
        seen = {o: s for o, s in row.context.items() if o != origin}
        kind, action = op.kind, op.action
        if isinstance(action, Keep):  # nothing can say which of many stay but a value of its own
            winner = self.opened(row).winner
            kind, action = (kind, REMOVE) if winner is None else winner[1:]
        if isinstance(action, Remove):
            return Leaf(op.key, GONE, seen, ABSENT)
        return Leaf(op.key, kind, seen, _in_memory(action))

    # --- received ------------------------------------------------------------------------------------------------

    def admit(self, block: Block) -> Block:
        """See `SealedRows.admit`."""
        check, came = _Check(self), _rows(block)
        kept = [(key, check.row(key, row)) for key, row in came]
        if all(row is before for (_, row), (_, before) in zip(kept, came, strict=True)):
            return block
        return _block((key, row) for key, row in kept if row.siblings)

    def proof_of(self, key: str, sibling: Sibling) -> Proof | None:
        """What proves a value; None if nothing does, or it is not that author's to write."""
        proof, link = self._proven(key, sibling)
        if proof is None or link is None:
            return None
        if not self._chains.fits(sibling.dot.origin, proof.before, link):
            self._traffic.equivocations += 1
            _log.warning("store.two_histories namespace=%r member=%s", self._space, node_id(proof.author))
        return proof

    def is_good(self, key: str, sibling: Sibling) -> bool:
        """Whether an author that may write there wrote this there."""
        _, link = self._proven(key, sibling)
        return link is not None

    def _proven(self, key: str, sibling: Sibling) -> tuple[Proof | None, Link | None]:
        """What a value says of itself, and the batch that it is of if that holds."""
        proof = _batch_proof.read(sibling.payload)
        if proof is None or (sibling.kind == GONE) != isinstance(proof.value, Absent):
            return proof, None
        if key.startswith(self.owned) and node_id(proof.author) != self.named_in(key):
            return proof, None
        return proof, _batch_proof.holds(proof, key, sibling.kind, Place(self._room, self._space, sibling.dot))

    def _complain(self, key: str) -> None:
        _log.warning("store.not_proven namespace=%r key=%r refused=%d", self._space, key[:80], self._refused)

    # --- shown ---------------------------------------------------------------------------------------------------

    def opened(self, row: Row) -> Row:
        """See `SealedRows.opened`: without removals and proofs. A value that only the disk holds keeps its own."""
        return opened(row)

    def shown(self, block: Block) -> Block:
        """See `SealedRows.shown`."""
        return shown(block)


class _Check:
    """The rows of one block, looked at one by one."""

    def __init__(self, rows: VerifiedRows) -> None:
        self._rows = rows
        self._forged = 0

    def row(self, key: str, row: Row) -> Row:
        """What of a row may stand here, with a context that its values prove; the row itself if that is all of it."""
        few = row.siblings if len(row.siblings) <= SIBLINGS_ADMITTED else ()
        proofs = [(sibling, self._rows.proof_of(key, sibling)) for sibling in few]
        good = [_Word(sibling, proof.seen) for sibling, proof in proofs if proof is not None]
        if not good or len(good) < len(row.siblings):
            self._rows.note_refused(key, wholly=not good)
            self._forged += sum(_batch_proof.read(s.payload) is not None for s in row.siblings) - len(good)
            if self._forged > FORGED_MAX:
                raise PeerProtocolError("a block full of values that their authors have not signed")
        proven = _row_of(good)
        return row if proven == row else proven


def opened(row: Row) -> Row:
    """A row of proven values as people see it."""
    if not row.siblings:
        return row
    return row._replace(siblings=tuple([_opened(s) for s in row.siblings if s.kind != GONE]))


def shown(block: Block) -> Block:
    """Proven rows as people see them."""
    return _block((key, opened(row)) for key, row in _rows(block))


def unseen(ours: Row, theirs: Row, _: VersionVector) -> Row:
    """The join of verified rows: of all values, those that no other has seen. Our row itself where nothing changes."""
    words = {word.sibling.dot: word for word in _words(ours)}
    for word in _words(theirs):
        held = words.get(word.sibling.dot)
        if held is None or _in_memory(held.sibling.payload) < _in_memory(word.sibling.payload):  # type: ignore[operator]  # both `Packed`
            words[word.sibling.dot] = word
    joined = _row_of(_unsuperseded(list(words.values())))
    return ours if joined.siblings == ours.siblings else joined


def _rows(block: Block) -> list[tuple[str, Row]]:
    rows = [(key, plain(Dot(stamp, origin), kind, payload)) for key, payload, kind, stamp, origin in block.plain]
    return rows + block.other


def _block(rows: Iterable[tuple[str, Row]]) -> Block:
    block = Block([], [])
    for key, row in rows:
        if row.is_plain:
            (sibling,) = row.siblings
            block.plain.append((key, sibling.payload, sibling.kind, *sibling.dot))
        else:
            block.other.append((key, row))
    return block


def _unsuperseded(words: list[_Word]) -> list[_Word]:
    """Those that none supersedes, at any number of steps, unless it is superseded by them as well."""
    below = [{n for n, other in enumerate(words) if other is not word and word.supersedes(other)} for word in words]
    if not any(below):
        return words
    reached = [_reached(n, below) for n in range(len(words))]
    over = [{m for m, found in enumerate(reached) if n in found} for n in range(len(words))]
    return [word for n, word in enumerate(words) if over[n] <= reached[n] | {n}]


def _reached(start: int, below: list[set[int]]) -> set[int]:
    found, ahead = set[int](), [start]
    while ahead:
        new = below[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def _words(row: Row) -> list[_Word]:
    if len(row.siblings) == 1:
        (sibling,) = row.siblings  # and what it has seen is all that the context says beside its own dot
        return [_Word(sibling, {o: s for o, s in row.context.items() if o != sibling.dot.origin})]
    return [_Word(sibling, _seen_in(sibling.payload)) for sibling in row.siblings]


def _row_of(words: list[_Word]) -> Row:
    words.sort(key=lambda word: word.sibling.dot, reverse=True)
    context: dict[Origin, Stamp] = {}
    for sibling, seen in words:
        for origin, stamp in (*seen.items(), (sibling.dot.origin, sibling.dot.stamp)):
            context[origin] = max(stamp, context.get(origin, stamp))
    return Row(tuple([word.sibling for word in words]), context)


def _seen_in(payload: Payload) -> Mapping[Origin, Stamp]:
    proof = _batch_proof.read(payload)
    return {} if proof is None else proof.seen


def _opened(sibling: Sibling) -> Sibling:
    if isinstance(sibling.payload, Evicted):
        return sibling
    proof = _batch_proof.read(sibling.payload)
    return sibling if proof is None or isinstance(proof.value, Absent) else sibling._replace(payload=proof.value)


def _sealed(leaf: Leaf, payload: Packed) -> Op:
    if len(payload) > VALUE_BYTES_MAX:
        raise LimitExceeded(f"the value of {leaf.key[:40]!r} with its proof", size=len(payload), limit=VALUE_BYTES_MAX)
    return Op(leaf.key, leaf.kind, payload)


def _in_memory(payload: Payload) -> Payload:
    return payload.read() if isinstance(payload, Evicted) else payload
