"""Namespaces of verified rows, by themselves, and an author that signs what it likes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from propagul.crdt import ABSENT, GONE, REGISTER, Dot, Replica, Sibling, Stamp
from propagul.link.identity import public_bytes
from propagul.store import _batch_proof
from propagul.store._batch_proof import FIRST, Leaf, Link, Place, origin_of, prove
from propagul.store._namespace import Namespace
from propagul.store._verified import VerifiedRows
from tests.store.owners import ROOM, SPACE, Wall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt import Origin, Row
    from propagul.crdt.payload import Found
    from propagul.link import Identity


def verified_member(identity: Identity, *, wall: Wall | None = None) -> Namespace:
    """One member's namespace in memory, in which every row proves who wrote it and `nodes/` is owned."""
    sealed = VerifiedRows(ROOM, SPACE, ("nodes/",), identity)
    replica = Replica(sealed.fresh_origin())
    replica.apart = sealed.apart
    return Namespace(SPACE, replica, threading.Lock(), None, wall_ns=wall or Wall(), sealed=sealed)


def raw(space: Namespace) -> dict[str, Row]:
    """Every row as it stands, proofs and removals included."""
    return dict(space._replica)


class Author:
    """Somebody with a key of its own that signs anything.

    Attributes:
        origin: Which it writes with.
    """

    def __init__(self, identity: Identity, room: str = ROOM, space: str = SPACE) -> None:
        self._room, self._space = room, space
        self.identity, self.salt = identity, _batch_proof.fresh_salt()
        self.origin = origin_of(public_bytes(identity.node), self.salt)

    def word(
        self,
        key: str,
        value: Found,
        stamp: int,
        seen: Mapping[Origin, Stamp] | None = None,
        *,
        before: Link = FIRST,
        kind: int = REGISTER,
    ) -> Sibling:
        """One signed value; ABSENT for a removal."""
        dot = Dot(Stamp(stamp), self.origin)
        leaf = Leaf(key, GONE if value is ABSENT else kind, seen or {}, value)
        (payload,), _ = prove(self.identity, self.salt, Place(self._room, self._space, dot), before, [leaf])
        return Sibling(dot, leaf.kind, payload)
