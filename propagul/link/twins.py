"""Telling a node that runs twice from one that was started again, by the instances it shows.

A restart changes the instance of a node once and the old one never comes back. Two machines with one identity, both
linked with us, show theirs in turn. A greeting of the run before may still be under way when the new run links, so a
single return proves nothing. Pure: no clock, and bounded by the nodes that are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from propagul.link.base import NodeId

NODES_MAX: Final = 1024
RETURNS: Final = 3
"""So often an instance must have come back after another one was seen."""

_INSTANCES_MAX: Final = 4


@dataclass(slots=True)
class _Seen:
    """Instances of one node, the newest last, and how often one came back since a new one was seen."""

    instances: list[bytes] = field(default_factory=list)
    returns: int = 0


class InstanceBook:
    """Which instances of which nodes linked with us."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, _Seen] = {}

    def note(self, node: NodeId, instance: bytes) -> bool:
        """A node linked; return whether it surely runs twice, said once for every time that it is seen again.

        A node that tells no instance says nothing about that.
        """
        seen = self._nodes.pop(node, None) or _Seen()
        self._nodes[node] = seen
        if len(self._nodes) > NODES_MAX:
            del self._nodes[next(iter(self._nodes))]
        if not instance or seen.instances[-1:] == [instance]:
            return False
        seen.returns = seen.returns + 1 if instance in seen.instances else 0
        seen.instances = [*(known for known in seen.instances if known != instance), instance][-_INSTANCES_MAX:]
        return seen.returns >= RETURNS


def are_two_runs(one: bytes, other: bytes) -> bool:
    """Whether two links with one identity surely lead to different runs of it: restarted, or twins."""
    return bool(one and other) and one != other


def runs_twice(node: NodeId) -> str:
    """What a third node says of twins."""
    return f"two machines run with the identity of node {node}: give one of them a fresh data directory"
