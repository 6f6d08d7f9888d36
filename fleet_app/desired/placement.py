"""Who should hold a model of which there are to be `replicas`: the same answer on every node that sees the same.

There is no coordinator and no lease. Every node ranks by one pure function of what it sees: who failed before comes
last, then who has room, then who has the larger free share of its disk, in quarters, then the rendezvous hash of model
and node (Thaler and Ravishankar 1998), which spreads models and moves few when nodes come and go. Views differ for a
while, so two nodes may claim one replica: a claim that is not needed goes again, the lowest first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet_app.desired.facts import NodeFacts
    from fleet_app.desired.specs import ModelSpec

RESERVE_BYTES: Final = 1_000_000_000
"""So much of a disk is left free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the replicas of a model stand.

    Attributes:
        wanted: How many there are to be.
        counted: Nodes that have one or claim it and count, the best first.
        candidates: Nodes that could take one more, the best first.
    """

    wanted: int
    counted: tuple[str, ...]
    candidates: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many more there should be."""
        return max(0, self.wanted - len(self.counted))

    @property
    def surplus(self) -> tuple[str, ...]:
        """Those that need not be there."""
        return self.counted[self.wanted :]


def standing(
    spec: ModelSpec, nodes: Sequence[NodeFacts], *, size_bytes: int | None, replace_after_s: float
) -> Standing:
    """How the replicas of a model with `replicas` stand, as seen from these facts."""
    where = spec.where
    assert where is not None
    assert spec.replicas is not None
    meant = [node for node in nodes if where.matches(node)]
    counted = [node for node in meant if counts(spec, node, replace_after_s)]
    having = [node for node in counted if node.has(spec)]
    claiming = [node for node in counted if node not in having]
    free = [node for node in meant if node not in counted and node.is_up and not node.spec.is_cordoned]
    able = [node for node in free if any("pull" in engine.can for engine in node.suitable(spec))]
    return Standing(
        wanted=spec.replicas,
        counted=tuple(node.id for group in (having, claiming) for node in ranked(spec, group, size_bytes)),
        candidates=tuple(node.id for node in ranked(spec, able, size_bytes)),
    )


def counts(spec: ModelSpec, node: NodeFacts, replace_after_s: float) -> bool:
    """Whether a node counts as one of the replicas: it has or claims one, and is not gone for good."""
    if node.spec.is_drained or not (node.has(spec) or spec.name in node.holds.claims):
        return False
    return node.is_up or node.spec.is_sometimes or node.absent_s < replace_after_s


def ranked(spec: ModelSpec, nodes: Sequence[NodeFacts], size_bytes: int | None) -> list[NodeFacts]:
    """The nodes, the best place for one more first."""
    return sorted(nodes, key=lambda node: _rank(spec, node, size_bytes))


def has_room(node: NodeFacts, size_bytes: int | None) -> bool:
    """Whether a model of this size fits on the disk; where either is not known, it may."""
    free = node.disk_free_bytes
    return free is None or free - (size_bytes or 0) >= RESERVE_BYTES


def _rank(spec: ModelSpec, node: NodeFacts, size_bytes: int | None) -> tuple[bool, bool, int, bytes]:
    share = 0 if node.disk is None or not node.disk.total_bytes else 4 * node.disk.used_bytes // node.disk.total_bytes
    return spec.name in node.holds.failed, not has_room(node, size_bytes), share, _hash(spec.name, node.id)


def _hash(model: str, node: str) -> bytes:
    return hashlib.blake2b(f"{model}\0{node}".encode(), digest_size=8).digest()
