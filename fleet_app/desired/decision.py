"""The smallest next step towards what is declared of one model on one node, and in words how it stands. Pure.

Level-triggered: everything is looked at afresh each time, nothing is remembered of what was decided before. The rule of
this file: *a model is deleted only where its declaration says `absent`, uncontested, and means this node*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from fleet_app.desired.placement import RESERVE_BYTES, Standing, standing
from fleet_app.engine_names import ENGINE_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleet_app.desired.facts import Found, NodeFacts, Sizes
    from fleet_app.desired.specs import ModelSpec, Settings
    from fleet_app.presence import BackendPresence, ConditionKind, Verb

RANK_WAIT_S: Final = 5.0
"""So long a node waits for each one that would be a better place and has not said that it will take the model."""

CONTEXT_SETTINGS: Final = ("num_ctx", "context_length", "ctx_size")
"""Settings that say how many tokens a request may use; engines tell that of a loaded model, so drift can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something to tell an engine.

    Attributes:
        verb: What; `ask` is for one token, to see whether any comes out.
        url: Which engine.
        model: The model: as it was declared, or as the engine that has it calls it.
        settings: How to load it.
        is_disruptive: Whether somebody may miss what it takes away; such acts have a budget.
        size_bytes: What a pull takes of the disk, if that is known.
    """

    verb: Verb | Literal["ask"]
    url: str
    model: str
    settings: Mapping[str, object] = field(default_factory=dict)
    is_disruptive: bool = False
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What comes of it.

    Attributes:
        kind: How the model stands here; None where it is none of this node's business.
        reason: In words.
        action: What to do now; None for nothing.
        claims: Whether this node takes one of the replicas.
        wait_s: Look again after so long, though nothing changes.
    """

    kind: ConditionKind | None = None
    reason: str = ""
    action: Action | None = None
    claims: bool = False
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known besides the declaration itself.

    Attributes:
        here: The node to decide for, one of `nodes`.
        nodes: The fleet.
        settings: The fleet's.
        short_s: For how long this node has seen that it could take a replica that is missing.
        sizes: How large models are.
    """

    here: NodeFacts
    nodes: Sequence[NodeFacts]
    settings: Settings
    sizes: Sizes
    short_s: float = 0.0


NOTHING_HERE: Final = Decision()


def decide(spec: ModelSpec, scene: Scene) -> Decision:
    """What to do about a model on one node."""
    here = scene.here
    if spec.where is None or not spec.where.matches(here):
        return NOTHING_HERE
    if spec.is_contested:
        return _blocked("`present` and `absent` were declared at the same time: nothing is pulled and nothing deleted")
    if spec.is_absent:
        return _absent(spec, here)
    if spec.replicas is None:
        return _present(spec, here, scene.sizes.of(spec))
    return _one_of_many(spec, scene)


def _one_of_many(spec: ModelSpec, scene: Scene) -> Decision:
    """Of a model with replicas: ours if we have it or claim it and are needed, or if we are the next in order."""
    here, size_bytes = scene.here, scene.sizes.of(spec)
    stands = standing(spec, scene.nodes, size_bytes=size_bytes, replace_after_s=scene.settings.replace_after_s)
    is_needed = here.id in stands.counted and here.id not in stands.surplus
    if here.has(spec):
        return _present(spec, here, size_bytes) if is_needed else _kept(stands)
    if here.id in stands.counted:
        return _claimed(spec, here, size_bytes) if is_needed else NOTHING_HERE
    if here.id not in stands.candidates or not stands.missing:
        return NOTHING_HERE
    behind = max(0, stands.candidates.index(here.id) - stands.missing + 1)
    left_s = behind * RANK_WAIT_S - scene.short_s
    return Decision(wait_s=left_s) if left_s > 0 else _claimed(spec, here, size_bytes)


def _kept(stands: Standing) -> Decision:
    """A replica too many, or on a drained node: it stays, and nothing is done about it."""
    more = len(stands.counted) - stands.wanted
    return Decision(
        kind="Ready", reason=f"{more} more than the {stands.wanted} that are needed; kept" if more > 0 else "kept"
    )


def _claimed(spec: ModelSpec, here: NodeFacts, size_bytes: int | None) -> Decision:
    """As for a model that is declared here, and said to the others; what cannot be done is left to them."""
    decision = _present(spec, here, size_bytes)
    able = decision.kind not in {"Blocked", None}
    return Decision(kind=decision.kind, reason=decision.reason, action=decision.action, claims=able)


def _present(spec: ModelSpec, here: NodeFacts, size_bytes: int | None) -> Decision:
    ready = [found for found in here.found(spec) if found.engine.condition == "ready"]
    if ready:
        return _loaded_as_declared(spec, ready)
    if here.has(spec):
        return _blocked(_why_not(spec, here))
    if here.spec.is_cordoned:
        return _blocked(f"{here.name} is {'drained' if here.spec.is_drained else 'cordoned'} and takes no new models")
    pulling = [engine for engine in here.suitable(spec) if engine.condition == "ready" and "pull" in engine.can]
    if not pulling:
        return _blocked(_why_not(spec, here))
    return _pull(spec, here, min(pulling, key=_preference), size_bytes)


def _pull(spec: ModelSpec, here: NodeFacts, engine: BackendPresence, size_bytes: int | None) -> Decision:
    free = here.disk_free_bytes
    if free is not None and (lack := (size_bytes or 0) + RESERVE_BYTES - free) > 0:
        return _blocked(f"needs {amount(lack)} more disk on {here.name}")
    action = Action(verb="pull", url=engine.url, model=spec.name, size_bytes=size_bytes)
    return Decision(kind="Progressing", reason=f"to be pulled by {_called(engine)}", action=action)


def _loaded_as_declared(spec: ModelSpec, ready: list[Found]) -> Decision:
    """It is on the disk; in memory, too, if that is declared."""
    if spec.loaded is None:
        return Decision(kind="Ready")
    engine, model = next((found for found in ready if found.model.loaded is spec.loaded), ready[0])
    verb: Literal["load", "unload"] = "load" if spec.loaded else "unload"
    drift = _drift(spec, model.context) if model.loaded and spec.loaded else ""
    if model.loaded is spec.loaded and not drift:
        return Decision(kind="Ready", reason="loaded" if spec.loaded else "")
    if verb not in engine.can:
        return _blocked(
            f"{_called(engine)} cannot {verb} a model when it is told to" + (f" ({drift})" if drift else "")
        )
    action = Action(
        verb=verb,
        url=engine.url,
        model=model.name,
        settings=spec.settings if spec.loaded else {},
        is_disruptive=bool(model.loaded),
    )
    return Decision(kind="Progressing", reason=drift or f"to be {verb}ed", action=action)


def _drift(spec: ModelSpec, context: int | None) -> str:
    """How a loaded model differs from its settings, where an engine tells."""
    wanted = next((spec.settings[name] for name in CONTEXT_SETTINGS if name in spec.settings), None)
    if wanted is None or context is None or wanted == context:
        return ""
    return f"loaded with {context} tokens of context, declared with {wanted}"


def _absent(spec: ModelSpec, here: NodeFacts) -> Decision:
    there = list(here.found(spec))
    for engine, model in there:
        if engine.condition == "ready" and "delete" in engine.can:
            action = Action(verb="delete", url=engine.url, model=model.name, is_disruptive=True)
            return Decision(kind="Progressing", reason="to be deleted", action=action)
    if there:
        return _blocked(f"{_called(there[0].engine)} cannot delete models; remove it there by hand")
    if here.has(spec):
        return _blocked(_why_not(spec, here))
    return Decision(kind="Ready", reason="gone")


def _why_not(spec: ModelSpec, here: NodeFacts) -> str:
    """Why no engine here can be asked for it."""
    engines = here.suitable(spec)
    wanted = ENGINE_NAMES.get(spec.engine or "", "engine")
    if not engines:
        return f"no {wanted} runs on {here.name}"
    away = next((engine for engine in engines if engine.condition != "ready"), None)
    if away is not None:
        why = f": {away.reason}" if away.reason else ""
        return f"{_called(away)} is {away.condition.replace('_', ' ')}{why}"
    return f"{_called(engines[0])} on {here.name} does not have it and cannot pull; start it with this model"


def _preference(engine: BackendPresence) -> tuple[int, str]:
    """Where nobody says which engine: those that most people pull with first."""
    order = ("ollama", "lmstudio", "llamacpp")
    return (order.index(engine.kind) if engine.kind in order else len(order)), engine.url


def _called(engine: BackendPresence) -> str:
    return ENGINE_NAMES.get(engine.kind, engine.kind)


def _blocked(reason: str) -> Decision:
    return Decision(kind="Blocked", reason=reason)


def amount(size_bytes: float) -> str:
    """An amount as disks are sold: `7.1 GB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1e3:.0f} kB"
