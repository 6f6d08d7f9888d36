"""Whom a store keeps links with: every member of a small room, some of a large one.

Looked after at every presence interval. In a room of up to `peers_max` others everybody is dialled, also for a while
after it fell silent; in a larger one the overlay chooses, and what was chosen is given up again when it has no place.
After a restart, who was there before is dialled first. Leaves are dialled by nobody and take nobody's place.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from propagul.store._remembered import MEMBERS, Remembered
from propagul.store._roll import Roll
from propagul.store._spaces import OWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.link import Address, NodeId
    from propagul.store._clock import Clock
    from propagul.store._mesh import Mesh
    from propagul.store._parts import Parts
    from propagul.store._targets import Target

_REMEMBER_S: Final = 3600.0
_REMEMBER_MAX: Final = 64
_TRY_S: Final = 10.0


@dataclass(slots=True)
class _Known:
    """A member we want to be linked with, and when it was last among those who can be."""

    target: Target
    told_at: float


class Company:
    """Keeps the mesh's targets as the roll says."""

    def __init__(self, mesh: Mesh, roll: Roll, clock: Clock, remembered: Remembered) -> None:
        self._mesh, self._roll, self._clock, self._remembered = mesh, roll, clock, remembered
        self._known: dict[NodeId, _Known] = {}
        self._told: OrderedDict[NodeId, tuple[Address, ...]] = OrderedDict(remembered.read())
        self._crossing: list[Target] = []

    def last_given(self) -> list[Address]:
        """Whom to take for given if the user names nobody: nobody, for members are found."""
        return []

    def troubles(self) -> list[str]:
        """What is wrong with the company that was given, in words."""
        return []

    def begin(self) -> None:
        """Dial who was there when this store last ran, as many as a small room has."""
        self._forget_unwanted()
        for node in list(self._told)[: self._mesh.peers_max]:
            self._want(node, self._told[node])

    def tend(self) -> None:
        """Dial who is missing and let go of who is not wanted any more."""
        self._forget_unwanted()
        members = self._roll.members.items()
        told = {node: said.addresses for node, said in members if said.addresses and not said.is_leaf}
        for node, addresses in told.items():
            self._told[node] = addresses
            self._told.move_to_end(node)
        self._remembered.keep(told)
        while len(self._told) > max(_REMEMBER_MAX, 2 * len(told)):
            self._told.popitem(last=False)
        linked = self._mesh.node.passing_on()
        for node in linked & self._known.keys():
            self._known[node].told_at = self._clock.monotonic()
        if self._mesh.node.sparse:
            self._tend_some(told, linked)
        else:
            self._tend_all(told)

    def _forget_unwanted(self) -> None:
        for node in filter(self._is_unwanted, list(self._known)):
            self._mesh.release(self._known.pop(node).target)
        for node in filter(self._is_unwanted, list(self._told)):
            del self._told[node]

    def _is_unwanted(self, node: NodeId) -> bool:
        return self._roll.is_revoked(node) or self._roll.is_leaf(node)

    def _tend_all(self, told: Mapping[NodeId, tuple[Address, ...]]) -> None:
        for node, addresses in told.items():
            self._want(node, addresses)
        for node in self._silent():
            self._mesh.release(self._known.pop(node).target)

    def _tend_some(self, told: Mapping[NodeId, tuple[Address, ...]], linked: set[NodeId]) -> None:
        overlay, reached = self._mesh.node.overlay, told.keys() & self._roll.reached
        links = {node: len(self._roll.members[node].links) for node in reached or told}
        for node in overlay.surplus(linked):
            self._mesh.drop(node, "enough links to others")
        trying = self._still_tried(linked)
        for node in overlay.choose(linked | trying, links):
            self._want(node, told[node])
        lost = overlay.bridge(len(reached), self._told.keys() - self._roll.reached)
        self._crossing += [self._mesh.keep(self._told[node], node, urgent=True) for node in lost]
        for target in [target for target in self._crossing if target.tried.is_set()]:
            self._crossing.remove(target)
            if target.node in linked and target.node not in self._known:
                self._known[target.node] = _Known(target, self._clock.monotonic())
            else:
                self._mesh.release(target)

    def _still_tried(self, linked: set[NodeId]) -> set[NodeId]:
        """Who was chosen and may yet answer; let go of those who had their time."""
        apart = self._known.keys() - linked
        late = {node for node in apart if self._clock.monotonic() - self._known[node].told_at > _TRY_S}
        for node in late:
            self._mesh.release(self._known.pop(node).target)
        return apart - late

    def _want(self, node: NodeId, addresses: tuple[Address, ...]) -> None:
        now = self._clock.monotonic()
        known = self._known.get(node)
        if known is not None and known.target.addresses != addresses:
            self._mesh.release(self._known.pop(node).target)
            known = None
        if known is None:
            self._known[node] = _Known(self._mesh.keep(addresses, node), now)
        else:
            known.told_at = now

    def _silent(self) -> list[NodeId]:
        """Whom it is no use to dial any longer."""
        now = self._clock.monotonic()
        longest = sorted(self._known, key=lambda node: self._known[node].told_at)
        over = len(longest) - _REMEMBER_MAX
        return [n for i, n in enumerate(longest) if i < over or now - self._known[n].told_at > _REMEMBER_S]


def company(parts: Parts, mesh: Mesh) -> tuple[Roll, Company]:
    """The roll of a member, and whom it keeps links with."""
    roll = Roll(parts.presence, parts.transport.node, parts.proofs.is_revoked, mesh.node.linked)
    return roll, Company(mesh, roll, parts.clock, Remembered(parts.spaces[OWN], parts.clock, MEMBERS))
