"""A node as placement, plans and reconcilers look at it: what it has, what it could hold, and whether it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fleet_app.names import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fleet_app.desired.specs import Desired, ModelSpec, NodeSpec
    from fleet_app.presence import BackendPresence, Model, NodePresence, Usage
    from fleet_app.view import FleetView, NodeView


@dataclass(frozen=True, slots=True)
class Holds:
    """What a node keeps in its durable row of the declared models: it holds while the node is away, too.

    Attributes:
        has: Those on its disks.
        claims: Those it is going to hold.
        failed: Those it tried to get and could not; others try before it does again.
    """

    has: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    @classmethod
    def read(cls, row: object) -> Holds:
        """Read a row that another machine wrote; what is none of it is left out."""
        parts = row if isinstance(row, dict) else {}
        return cls(*(_names(parts.get(part)) for part in ("has", "claims", "failed")))

    def packed(self) -> dict[str, object]:
        """The row."""
        return {part: sorted(getattr(self, part)) for part in ("has", "claims", "failed") if getattr(self, part)}


def _names(value: object) -> frozenset[str]:
    return frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list) else frozenset()


class Found(NamedTuple):
    """A model at an engine."""

    engine: BackendPresence
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One node.

    Attributes:
        id: Its identity.
        name: What people call it.
        labels: Those that people gave it, over those it has by itself: `os`, `arch`, `gpu`.
        is_up: Whether it is heard now.
        absent_s: For how long it has been away while this node watched.
        spec: What is declared of it.
        engines: What runs beside it, as it last said.
        holds: What its durable row says.
        disk: The disk its models lie on; None if it cannot tell.
        vram_bytes: All memory of its GPUs.
        vram_used_bytes: Of it, in use.
        ram_bytes: Its memory.
    """

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    is_up: bool = True
    absent_s: float = 0.0
    spec: NodeSpec
    engines: tuple[BackendPresence, ...] = ()
    holds: Holds = field(default_factory=Holds)
    disk: Usage | None = None
    vram_bytes: int | None = None
    vram_used_bytes: int | None = None
    ram_bytes: int | None = None

    @property
    def disk_free_bytes(self) -> int | None:
        """What is left of the disk."""
        return None if self.disk is None else self.disk.total_bytes - self.disk.used_bytes

    def suitable(self, spec: ModelSpec) -> list[BackendPresence]:
        """Engines that a declaration may mean, in the order in which they are asked."""
        return [engine for engine in self.engines if spec.engine in {None, engine.kind} and engine.kind != "unknown"]

    def found(self, spec: ModelSpec) -> Iterator[Found]:
        """Where a declared model is, here."""
        for engine in self.suitable(spec):
            name = canonical(engine.kind, spec.name)
            yield from (Found(engine, model) for model in engine.models if canonical(engine.kind, model.name) == name)

    def has(self, spec: ModelSpec) -> bool:
        """Whether a declared model is here, as far as is known: a node or engine that is away keeps what it had."""
        if any(True for _ in self.found(spec)):
            return True
        cannot_tell = not self.is_up or any(engine.condition != "ready" for engine in self.suitable(spec))
        return cannot_tell and spec.name in self.holds.has


def facts_of(
    view: FleetView, desired: Desired, holds: Mapping[str, Holds], absent_s: Mapping[str, float]
) -> tuple[NodeFacts, ...]:
    """Every node of the fleet that is not forgotten, by id.

    Args:
        view: The fleet as this node sees it.
        desired: What is declared.
        holds: The durable rows, by node.
        absent_s: For how long each node has been away while this one watched.
    """
    found = (
        _facts(node, desired.node(node.id), holds.get(node.id, Holds()), absent_s.get(node.id, 0.0))
        for node in view.nodes
    )
    return tuple(sorted((node for node in found if node is not None), key=lambda node: node.id))


def _facts(node: NodeView, spec: NodeSpec, holds: Holds, absent_s: float) -> NodeFacts | None:
    seen = node.presence
    is_up = node.state != "down"
    if spec.is_forgotten and not is_up:
        return None
    vram = [gpu.vram for gpu in seen.gpus if gpu.vram is not None] if seen is not None else []
    return NodeFacts(
        id=node.id,
        name=spec.name or node.name,
        labels={**labels_of(seen), **spec.labels},
        is_up=is_up,
        absent_s=0.0 if is_up else absent_s,
        spec=spec,
        engines=() if seen is None else seen.backends,
        holds=holds,
        disk=None if seen is None else seen.disk,
        vram_bytes=sum(usage.total_bytes for usage in vram) if vram else None,
        vram_used_bytes=sum(usage.used_bytes for usage in vram) if vram else None,
        ram_bytes=None if seen is None or seen.ram is None else seen.ram.total_bytes,
    )


def labels_of(seen: NodePresence | None) -> dict[str, str]:
    """Labels that a node has by itself."""
    if seen is None:
        return {}
    system, _, processor = seen.platform.partition("/")
    vendor = seen.gpus[0].vendor if seen.gpus else "none"
    own = {"os": system, "arch": processor, "gpu": vendor or "unknown"}
    return {label: text for label, text in own.items() if text}


class Sizes:
    """How large models are on a disk, as far as any engine of the fleet tells. Made once for many questions.

    Args:
        nodes: The fleet.
        learned: What pulls have told, by declared name; it goes before.
    """

    def __init__(self, nodes: Sequence[NodeFacts], learned: Mapping[str, int] | None = None) -> None:
        self._learned = learned or {}
        self._by_kind: dict[str, dict[str, int]] = {}
        for node in nodes:
            for engine in node.engines:
                known = self._by_kind.setdefault(engine.kind, {})
                for model in engine.models:
                    if model.size_bytes is not None:
                        known.setdefault(canonical(engine.kind, model.name), model.size_bytes)

    def of(self, spec: ModelSpec) -> int | None:
        """The size of a declared model; None if nobody has told."""
        if spec.name in self._learned:
            return self._learned[spec.name]
        kinds = [spec.engine] if spec.engine is not None else list(self._by_kind)
        found = (self._by_kind.get(kind, {}).get(canonical(kind, spec.name)) for kind in kinds)
        return next((size for size in found if size is not None), None)
