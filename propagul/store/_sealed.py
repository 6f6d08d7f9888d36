"""Rows whose values prove who wrote them, as a namespace uses them; and under which prefixes each has one owner.

Two kinds: `OwnedRows`, which a member may write beneath its own identity only, and `VerifiedRows`, where every row of
the namespace proves itself. The key of an owned row names its owner (`nodes/<id>`, `nodes/<id>/...`) by its public key.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from propagul.crdt.row import EMPTY
from propagul.errors import IdentityError, LocalProtocolError
from propagul.link import NodeId
from propagul.link.identity import public_bytes
from propagul.store._origin import fresh_origin
from propagul.store._traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from propagul.crdt import Apart, Batch, Block, Op, Origin, Replica, Row
    from propagul.crdt.hot import Put
    from propagul.link import Identity

FORGED_MAX: Final = 64
"""A block with more bad signatures than this ends the link: checking them takes time, and no honest member has any."""

_LOUDER: Final = 10
_log = logging.getLogger("propagul.store")


class SealedRows:
    """The rows of one namespace that prove who wrote them.

    Args:
        room: Its room.
        space: The namespace.
        owned: How the keys begin that have one owner each; each prefix ends with a slash.
        identity: Who writes here.

    Attributes:
        owned: As above.
        prefixes: How the keys of these rows begin.
        apart: Their join, for the replica.
        is_whole: All rows of the namespace are of this kind. People see them otherwise than they stand in the table,
            nothing is forgotten of them, and no peer's word removes any.
    """

    is_whole = False
    prefixes: tuple[str, ...]
    apart: Apart

    def __init__(self, room: str, space: str, owned: tuple[str, ...], identity: Identity) -> None:
        self._room, self._space, self.owned = room, space, owned
        self._identity = identity
        self._refused, self._told_at = 0, 1
        self._traffic = Traffic()
        self._standing: Callable[[str], Row] = nothing

    @property
    def rules(self) -> str:
        """By what rows are admitted; the same everywhere in a room."""
        return f"owned={','.join(self.owned)}" if self.owned else ""

    def guard(self, traffic: Traffic, row: Callable[[str], Row], lock: AbstractContextManager[object]) -> Traffic:
        """Have the traffic of the namespace let in only what proves itself.

        Args:
            traffic: The namespace's.
            row: What stands under a key. It was looked at when it came, and is not again when it comes once more.
            lock: To be held for that.
        """

        def standing(key: str) -> Row:
            with lock:
                return row(key)

        self._traffic, self._standing, traffic.admit = traffic, standing, self.admit
        return traffic

    def recovered(self, replica: Replica) -> None:
        """Take charge of what a log kept. O(keys) at most."""

    # --- what each kind does in its own way ----------------------------------------------------------------------

    def seal(self, batch: Batch, row: Callable[[str], Row]) -> Batch:
        """A batch whose values prove who wrote them. `row` gives what stands under a key.

        Raises:
            LocalProtocolError: As `check`.
            LimitExceeded: A value with its proof is too large.
        """
        raise NotImplementedError

    def admit(self, block: Block) -> Block:
        """What of a received block may stand here: the block itself if that is all of it.

        Raises:
            PeerProtocolError: So many signatures are forged that its sender must be doing it.
        """
        raise NotImplementedError

    def fresh_origin(self) -> Origin:
        """An origin that nobody has and this store may write with."""
        return fresh_origin()

    def is_barred(self, batch: Batch, row: Callable[[str], Row]) -> bool:  # noqa: ARG002 - a subclass looks
        """Whether the batch must be of another origin, or others would not take it."""
        return False

    def opened(self, row: Row) -> Row:
        """A row as people see it."""
        return row

    def shown(self, block: Block) -> Block:
        """Rows as people see them."""
        return block

    # --- owners --------------------------------------------------------------------------------------------------

    def is_others(self, key: str) -> bool:
        """Whether a key is owned, and not by this store."""
        return key.startswith(self.owned) and self.named_in(key) != self._identity.node

    def check(self, ops: Iterable[Op]) -> None:
        """Refuse operations on what another member owns.

        Raises:
            LocalProtocolError: One is; the message says what may be written.
        """
        for op in ops:
            if self.is_others(op.key):
                raise self._not_ours(op.key)

    def _not_ours(self, key: str) -> LocalProtocolError:
        prefix = self._prefix_of(key)
        return LocalProtocolError(
            f"{key[:80]!r} is not this store's to write: under {prefix!r} each member writes only beneath its own "
            f"identity, which is {prefix + self._identity.node!r} here"
        )

    def owner_of(self, key: str) -> NodeId | None:
        """Whose an owned key is; None if nobody can be, as the key names no identity."""
        node = self.named_in(key)
        try:
            public_bytes(node)
        except IdentityError:
            return None
        return node

    def named_in(self, key: str) -> NodeId:
        """What stands where an owned key names its owner; whether that is an identity will show."""
        return NodeId(key.removeprefix(self._prefix_of(key)).partition("/")[0])

    def _prefix_of(self, key: str) -> str:
        return next(prefix for prefix in self.owned if key.startswith(prefix))

    # --- refused -------------------------------------------------------------------------------------------------

    def note_refused(self, key: str, *, wholly: bool) -> None:
        """Count a row of which something was refused; say so the first time, and ever more rarely."""
        self._traffic.refused_rows += not wholly  # those left out wholly are counted by who misses them
        self._refused += 1
        if self._refused >= self._told_at:
            self._told_at *= _LOUDER
            self._complain(key)

    def _complain(self, key: str) -> None:
        owner = self.owner_of(key) or "nobody that is a member"
        _log.warning("store.not_the_owners namespace=%r owner=%s refused=%d", self._space, owner, self._refused)


def nothing(_: str) -> Row:
    """What stands under a key, where nothing has been looked at yet."""
    return EMPTY


def sealing(rows: SealedRows | None, put: Put) -> Put:
    """The short way of a local write, closed to keys whose values prove who wrote them."""
    if rows is None:
        return put
    prefixes = rows.prefixes
    return lambda key, payload: not key.startswith(prefixes) and put(key, payload)
