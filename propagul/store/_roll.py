"""The roll of a room: who is in it, where each listens and with whom it is linked, by the members' own presence rows.

A member has one row, `members/<id>`, that it writes anew when it changes. Here such rows are read, each once, as they
come, and what follows from all of them is computed: who can be reached, and with that, whose presence is true. What
costs a step for every member is done when something has changed. Who was out of reach
for too long has been forgotten, and has forgotten us, unless it is another process by now: when it is back, both say
everything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from propagul.crdt.wire import size_of
from propagul.errors import StoreCorrupt
from propagul.gossip.membership import reachable, short
from propagul.link import NodeId
from propagul.link.local import is_local
from propagul.store import _values
from propagul.store._addresses import parse_addresses
from propagul.store._ownership import MEMBERS
from propagul.store._proofs import CERTIFICATE
from propagul.store._report import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from propagul.crdt import Dot, Evicted, Origin, Payload, Sibling
    from propagul.link import Address
    from propagul.store._presence import Presence

LEAF: Final = "leaf"
"""Where a leaf's row says that it is one."""

ROW_BYTES_MAX: Final = 64 * 1024
"""A larger row is no member's, and is not decoded."""

_LINKS_MAX: Final = 64
_LABEL_CHARS_MAX: Final = 64
_LOST_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What one member said of itself last.

    Attributes:
        label: What people call it.
        addresses: Where it listens.
        links: With whom it is linked, by their short names.
        certificate: What it shows to prove that it is a member, unverified; empty if it announces none.
        dot: Which write of whom this is.
        is_leaf: Whether it is linked with those only that it was given, and passes no presence on.
    """

    label: str
    addresses: tuple[Address, ...]
    links: frozenset[str]
    certificate: bytes
    dot: Dot
    is_leaf: bool = False


class Roll:
    """Reads members' rows and vouches for those who can be reached.

    Args:
        presence: Where they stand.
        me: Whose own row is left out.
        is_revoked: Whether a node was shut out.
        linked: With whom we are linked, other processes of our directory included.

    Attributes:
        members: Everybody who could be reached until a moment ago, this store left out.
        reached: Those of them that a chain of links leads to now.
        is_revoked: Whether a node was shut out, and is on no roll any more.
    """

    def __init__(
        self,
        presence: Presence,
        me: NodeId,
        is_revoked: Callable[[NodeId], bool],
        linked: Callable[[], Collection[NodeId]],
    ) -> None:
        self.members: Mapping[NodeId, Enrolled] = {}
        self.reached: set[NodeId] = set()
        self._presence = presence
        self._me = me
        self.is_revoked = is_revoked
        self._linked = linked
        self._own: dict[str, object] = {}
        self._has_left = False
        self._lost: dict[NodeId, Origin] = {}
        self._said: dict[NodeId, Enrolled] = {}
        self._seen: tuple[Mapping[NodeId, Enrolled], set[NodeId]] = {}, set()

    def begin(self) -> None:
        """Read the rows that are there. Those that come are given to `hear`, in the same thread."""
        for key, winner in self._presence.said(MEMBERS):
            self.hear(key, winner)

    def hear(self, key: str, winner: Sibling | None) -> None:
        """Read a member's row as it is now, which may be gone."""
        node = NodeId(key.removeprefix(MEMBERS))
        if node == self._me or "/" in node:  # what a member says below its own row makes it no second one
            return
        said = None if winner is None else _enrolled(key, winner.dot, winner.payload)
        if said is None:
            self._said.pop(node, None)
        else:
            self._said[node] = said
            self._presence.enrol(said.dot.origin, reached=node in self.reached or node in self._linked())

    @property
    def is_member(self) -> bool:
        """Whether this store is on it."""
        return bool(self._own)

    def enrol(self, row: dict[str, object], *, again: bool = False) -> None:
        """Say who we are and with whom we are linked, if that has changed, or `again`."""
        links = sorted(map(short, self._neighbours()))
        row = {**row, "links": links[:_LINKS_MAX]}
        if (row != self._own or again) and not self._has_left:
            self._own = row
            self._presence.set(MEMBERS + self._me, row)

    def leave(self) -> None:
        """Take back everything this store said, for good."""
        self._has_left = True
        self._presence.withdraw()

    def _neighbours(self) -> set[NodeId]:
        return {node for node in self._linked() if not is_local(node)}

    def look(self) -> None:
        """Read what is new and vouch for everybody who can be reached; those who are linked surely can."""
        linked = self._neighbours()
        before, self.members = self.members, self.read()
        self._lost.update((node, said.dot.origin) for node, said in before.items() if node not in self.members)
        for node in list(self._lost)[:-_LOST_MAX]:
            del self._lost[node]
        if self._is_back(linked):
            self._presence.repeat()
        if (self.members, linked) != self._seen:
            self._seen = self.members, linked
            leaves = [node for node, said in self.members.items() if said.is_leaf]
            reached = reachable(linked, {node: said.links for node, said in self.members.items()}, leaves)
            self.reached = reached & self.members.keys()
        origins = {node: said.dot.origin for node, said in self.members.items()}
        self._presence.vouch([origins[node] for node in self.reached], origins.values())

    def _is_back(self, linked: Collection[NodeId]) -> bool:
        """Whether somebody is here again who was lost. A neighbour's row may be among what was forgotten."""
        back = [node for node in self._lost if node in linked]
        back += [node for node, said in self.members.items() if self._lost.get(node) == said.dot.origin]
        for node in (*back, *self.members):
            self._lost.pop(node, None)
        return bool(back)

    def passing_on(self) -> set[NodeId]:
        """Who can be reached and is no leaf."""
        return {node for node in self.reached if not self.is_leaf(node)}

    def is_leaf(self, node: NodeId) -> bool:
        """Whether a member said that it is one."""
        return node in self.members and self.members[node].is_leaf

    def find(self, node: NodeId) -> Enrolled | None:
        """One member's row as it is now. Any thread."""
        return self._said.get(node)

    def heard_within(self, age_s_max: float) -> list[Member]:
        """Members that could be reached so recently, as the store's user sees them. Any thread."""
        linked = self._linked()
        found = ((node, said, self._presence.age_s(said.dot.origin)) for node, said in self.read().items())
        return [
            Member(
                node=node,
                label=said.label,
                addresses=tuple(map(str, said.addresses)),
                linked=node in linked,
                heard_s=heard_s,
                leaf=said.is_leaf,
            )
            for node, said, heard_s in found
            if heard_s <= age_s_max
        ]

    def certificates(self) -> dict[NodeId, bytes]:
        """The certificate that each member announces, empty where it announces none. Any thread."""
        return {node: said.certificate for node, said in self.read().items()}

    def read(self) -> dict[NodeId, Enrolled]:
        """Everybody's row as it is now, the revoked left out. Any thread."""
        return {node: said for node, said in dict(self._said).items() if not self.is_revoked(node)}


def _enrolled(key: str, dot: Dot, payload: Payload | Evicted) -> Enrolled | None:
    """A member's row; None for what is none: it came from another machine."""
    if size_of(payload) > ROW_BYTES_MAX:
        return None
    try:
        row = _values.thaw(key, payload)
    except StoreCorrupt:
        return None
    if not isinstance(row, dict):
        return None
    links = row.get("links")
    certificate = row.get(CERTIFICATE)
    names = [name for name in links[:_LINKS_MAX] if type(name) is str] if isinstance(links, list) else []
    return Enrolled(
        label=str(row.get("label", ""))[:_LABEL_CHARS_MAX],
        addresses=parse_addresses(row.get("addresses")),
        links=frozenset(names),
        certificate=certificate if type(certificate) is bytes else b"",
        dot=dot,
        is_leaf=row.get(LEAF) is True,
    )
