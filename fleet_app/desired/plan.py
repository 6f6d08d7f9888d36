"""What would happen if something were declared: by the same function that decides on every node. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from fleet_app.desired.decision import Decision, Scene, decide
from fleet_app.desired.facts import Holds, Sizes
from fleet_app.desired.placement import standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fleet_app.desired.facts import NodeFacts
    from fleet_app.desired.specs import Desired, ModelSpec
    from fleet_app.presence import Usage, Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that a node would do.

    Attributes:
        node: Its name.
        verb: What.
        model: The declared model.
        engine: The kind of engine that does it.
        size_bytes: Of the disk that a pull takes or a delete frees; None if nobody knows.
    """

    node: str
    verb: Verb | Literal["ask"]
    model: str
    engine: str
    size_bytes: int | None = None


class Stuck(NamedTuple):
    """What could not be done on a node, and why."""

    node: str
    model: str
    reason: str


class After(NamedTuple):
    """A node's disk and GPU memory when it is done, both in bytes; None where it cannot tell."""

    disk: Usage | None
    vram_used_bytes: int | None
    vram_bytes: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that would happen.

    Attributes:
        steps: What nodes that are up would do.
        later: What nodes that are away would do when they return: node and model.
        stuck: What could not be done.
        after: How nodes that do something would stand, by name.
    """

    steps: list[Step] = field(default_factory=list)
    later: list[tuple[str, str]] = field(default_factory=list)
    stuck: list[Stuck] = field(default_factory=list)
    after: dict[str, After] = field(default_factory=dict)

    @property
    def pull_bytes(self) -> int:
        """All that would be pulled, as far as its size is known."""
        return sum(step.size_bytes or 0 for step in self.steps if step.verb == "pull")


def plan(desired: Desired, nodes: Sequence[NodeFacts]) -> Plan:
    """What these nodes would do about what is declared. O(models x nodes), a few microseconds each."""
    found, sizes = Plan(), Sizes(nodes)
    for spec in desired.models.values():
        for node, decision in _decisions(spec, nodes, desired, sizes):
            _note(found, spec, node, decision, sizes.of(spec))
    found.after.update(_afters(found.steps, nodes))
    return found


def _decisions(
    spec: ModelSpec, nodes: Sequence[NodeFacts], desired: Desired, sizes: Sizes
) -> Iterator[tuple[NodeFacts, Decision]]:
    """What each node would decide in the end: those that are next in order, nobody else, take what is missing."""
    chosen = _chosen(spec, nodes, desired, sizes)
    for node in nodes:
        here, others = node, nodes
        if chosen is not None:
            if node.id not in chosen and not node.has(spec):
                continue
            claims = node.holds.claims | {spec.name} if node.id in chosen else node.holds.claims - {spec.name}
            here = replace(node, holds=Holds(node.holds.has, claims, frozenset()))
            others = [here if other is node else other for other in nodes]
        yield node, decide(spec, Scene(here=here, nodes=others, settings=desired.settings, sizes=sizes))


def _chosen(spec: ModelSpec, nodes: Sequence[NodeFacts], desired: Desired, sizes: Sizes) -> frozenset[str] | None:
    if spec.replicas is None or spec.where is None or spec.is_absent or spec.is_contested:
        return None
    stands = standing(spec, nodes, size_bytes=sizes.of(spec), replace_after_s=desired.settings.replace_after_s)
    claimed = frozenset(node for node in stands.counted if node not in stands.surplus)
    return claimed | frozenset(stands.candidates[: stands.missing])


def _note(found: Plan, spec: ModelSpec, node: NodeFacts, decision: Decision, size_bytes: int | None) -> None:
    if not node.is_up:
        if decision.kind is not None and spec.replicas is None and spec.is_absent == node.has(spec):
            found.later.append((node.name, spec.name))
        return
    action = decision.action
    if action is None:
        if decision.kind == "Blocked":
            found.stuck.append(Stuck(node.name, spec.name, decision.reason))
        return
    engine = next(engine for engine in node.engines if engine.url == action.url)
    step = Step(node=node.name, verb=action.verb, model=spec.name, engine=engine.kind, size_bytes=size_bytes)
    found.steps.append(step)
    if action.verb == "pull" and spec.loaded and "load" in engine.can:
        found.steps.append(replace(step, verb="load"))


def _afters(steps: Sequence[Step], nodes: Sequence[NodeFacts]) -> Mapping[str, After]:
    return {
        node.name: _after(node, [step for step in steps if step.node == node.name])
        for node in nodes
        if any(step.node == node.name for step in steps)
    }


_DISK = {"pull": 1, "delete": -1}
_MEMORY = {"load": 1, "unload": -1}


def _after(node: NodeFacts, steps: Sequence[Step]) -> After:
    disk = node.disk
    if disk is not None:
        taken = sum(_DISK.get(step.verb, 0) * (step.size_bytes or 0) for step in steps)
        disk = disk.model_copy(update={"used_bytes": max(0, disk.used_bytes + taken)})
    vram = node.vram_used_bytes
    if vram is not None:
        vram = max(0, vram + sum(_MEMORY.get(step.verb, 0) * (step.size_bytes or 0) for step in steps))
    return After(disk, vram, node.vram_bytes)
