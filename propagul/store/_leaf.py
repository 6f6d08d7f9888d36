"""A leaf: a store that is linked with the peers it was given, its hubs, and is not told of anybody's presence.

It shares state and deeds like everybody and says its own presence to its hubs, so it costs them and itself what it
writes and what it is to know, however large the room and however busy its telemetry. Whom it knows, it knows by its
links: there is no roll of the room here, and no company to keep but the one that was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.crdt import Dot, Origin, Stamp
from propagul.gossip import Direction
from propagul.link import NodeId
from propagul.store._company import Company
from propagul.store._remembered import HUBS, Remembered
from propagul.store._report import Member
from propagul.store._roll import LEAF, Enrolled, Roll
from propagul.store._spaces import OWN, PRESENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.gossip import GossipNode
    from propagul.link import Address
    from propagul.store._mesh import Mesh
    from propagul.store._parts import Parts
    from propagul.store._presence import Presence

DIRECTIONS: Final = {PRESENCE: Direction.UP}
"""What a leaf wants of the namespaces that it does not just share."""

_UNSAID: Final = Dot(Stamp(0), Origin(0))


class LinkedRoll(Roll):
    """The roll of a leaf: whoever it is linked with, by what they said first on the link."""

    def __init__(self, presence: Presence, me: NodeId, is_revoked: Callable[[NodeId], bool], node: GossipNode) -> None:
        super().__init__(presence, me, is_revoked, node.linked)
        self._node = node

    def enrol(self, row: dict[str, object], *, again: bool = False) -> None:
        """Say who we are, and that we are a leaf."""
        super().enrol({**row, LEAF: True}, again=again)

    def look(self) -> None:
        """Who is linked is here. Nobody's presence is known that could be vouched for."""
        self.members, self.reached = self.read(), self._neighbours()

    def heard_within(self, age_s_max: float) -> list[Member]:  # noqa: ARG002 - all are
        """Who is linked. Any thread."""
        return [
            Member(node=node, label=said.label, addresses=(), linked=True, heard_s=0.0, leaf=said.is_leaf)
            for node, said in self.read().items()
        ]

    def read(self) -> dict[NodeId, Enrolled]:
        """Who is linked and has spoken. Any thread."""
        greeted = {node: self._node.hello_of(node) for node in self._neighbours()}
        return {
            node: Enrolled(
                label=hello.label,
                addresses=(),
                links=frozenset(),
                certificate=b"",
                dot=_UNSAID,
                is_leaf=bool(hello.directions),
            )
            for node, hello in greeted.items()
            if hello is not None
        }


class Hubs(Company):
    """The company of a leaf: it dials those it was given, and nobody else."""

    def begin(self) -> None:
        """Nobody: the user names them."""

    def last_given(self) -> list[Address]:
        """Whom it was given last, for a program that names nobody now."""
        return [address for addresses in self._remembered.read().values() for address in addresses]

    def tend(self) -> None:
        """Remember whom it was given."""
        given = [target.addresses for target in self._mesh.targets if target.transport is None]
        self._remembered.keep({NodeId(str(listens[0])): listens for listens in given})  # unknown before they answer

    def troubles(self) -> list[str]:
        """That there is no hub, or one that is none."""
        if not any(target.transport is None for target in self._mesh.targets):
            return ["a leaf is linked with the peers it was given, and there are none: name its hub as a peer"]
        leaves = [said.label for said in self._roll.read().values() if said.is_leaf]
        return [f"{label!r} is a leaf itself and passes no presence on: name a hub as a peer" for label in leaves]


def company(parts: Parts, mesh: Mesh) -> tuple[Roll, Company]:
    """The roll of a leaf, and whom it keeps links with."""
    roll = LinkedRoll(parts.presence, parts.transport.node, parts.proofs.is_revoked, mesh.node)
    return roll, Hubs(mesh, roll, parts.clock, Remembered(parts.spaces[OWN], parts.clock, HUBS))
