"""One node's reconciler as a state machine: what to start and stop, and how each declared model stands. No I/O.

    step(desired, nodes, now) -> effects      look at everything afresh
    progressed(...), ended(...)               what became of what was started

At most one action a model runs at a time. Everything that could run away is bounded: what takes something from people
by a budget an hour, starts for one model by a bucket of tokens, failures by a backoff, pulls by a number at a time.
Whatever was decided before a crash is decided again after it: nothing is kept here but what may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fleet_app.desired import Action, Holds, Scene, amount, decide
from fleet_app.desired.facts import Sizes
from fleet_app.desired.placement import RESERVE_BYTES
from fleet_app.presence import Condition, Pull
from fleet_app.reconcile.limits import Backoff, Budget, Starts
from fleet_app.reconcile.words import DOING, MUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fleet_app.desired import Decision, Desired, ModelSpec, NodeFacts, Settings
    from fleet_app.engine import Progress
    from fleet_app.presence import ConditionKind

RESYNC_S: Final = 60.0
ASK_EVERY_S: Final = 300.0
"""How often a model that is kept loaded is asked for a token, while its engine has nothing else to do."""

ASK_AGAIN_S: Final = 60.0
"""The same where none came out."""

BUSY_S: Final = 20.0
"""How long to wait for an engine that is busy."""

LISTEN_S: Final = 10.0
"""A machine that has just started takes no replica before it can have heard who has them."""

_REASON_CHARACTERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Start:
    """Do this now, and say how it went."""

    model: str
    action: Action


@dataclass(frozen=True, slots=True)
class Stop:
    """End what runs for this model; it is not said how it went."""

    model: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Write this node's durable row."""

    holds: Holds


Effect = Start | Stop | Hold


@dataclass(slots=True)
class _Model:
    """What is remembered of one declared model.

    Attributes:
        spec: The declaration that was last looked at.
        starts: When something may be begun for it.
        backoff: What failed, and when it is tried again.
        action: What runs for it.
        progress: How far a pull has come.
        short_since: Since when a replica is missing that we could take.
        claims: Whether we take one.
        condition: How it stands.
        asked_at: When it was last asked for a token.
        is_mute: Whether none came out then.
        swept: Engines that were told to end a pull of it that nobody wants.
    """

    spec: ModelSpec
    starts: Starts
    backoff: Backoff = field(default_factory=Backoff)
    action: Action | None = None
    progress: Progress | None = None
    short_since: float | None = None
    claims: bool = False
    condition: Condition | None = None
    asked_at: float | None = None
    is_mute: bool = False
    swept: set[str] = field(default_factory=set)

    def stands(self, kind: ConditionKind | None, reason: str = "") -> None:
        """Say how it stands; None for not at all."""
        name, words = self.spec.name, reason[:_REASON_CHARACTERS_MAX]
        self.condition = None if kind is None else Condition(model=name, kind=kind, reason=words)


class Machine:
    """Reconciles what is declared with one node.

    Args:
        node: Its id.
        random: A number from 0 to 1, for jitter.
        spent_s_ago: When disruptive acts of the last hour were begun, in seconds before now.
    """

    def __init__(
        self, node: str, *, random: Callable[[], float], now: float, spent_s_ago: Iterable[float] = ()
    ) -> None:
        self._node, self._random = node, random
        self._models: dict[str, _Model] = {}
        self._budget = Budget(now - ago for ago in spent_s_ago)
        self._sizes: dict[str, int] = {}
        self._free_bytes: int | None = None
        self._wake_at = now
        self._listening_until = now + LISTEN_S

    # --- asked ---------------------------------------------------------------------------------------------------

    @property
    def wake_at(self) -> float:
        """When to step again, though nothing happens until then."""
        return self._wake_at

    @property
    def remembers(self) -> bool:
        """Whether it knows of any declared model."""
        return bool(self._models)

    def conditions(self) -> tuple[Condition, ...]:
        """How each declared model stands that means this node, by name."""
        return tuple(model.condition for _, model in sorted(self._models.items()) if model.condition is not None)

    def pulls(self) -> tuple[Pull, ...]:
        """What is on its way here."""
        return tuple(
            Pull(
                model=name,
                url=model.action.url,
                status=model.progress.status[:_REASON_CHARACTERS_MAX] if model.progress else "",
                completed_bytes=model.progress.completed_bytes if model.progress else 0,
                total_bytes=model.progress.total_bytes if model.progress else model.action.size_bytes,
            )
            for name, model in sorted(self._models.items())
            if model.action is not None and model.action.verb == "pull"
        )

    # --- told ----------------------------------------------------------------------------------------------------

    def step(self, desired: Desired, nodes: Sequence[NodeFacts], now: float) -> list[Effect]:
        """Look at everything; return what to do, in this order."""
        here = next((node for node in nodes if node.id == self._node), None)
        if here is None:
            return []
        self._free_bytes, self._wake_at = here.disk_free_bytes, now + RESYNC_S
        effects: list[Effect] = [*self._let_go(desired)]
        scene = Scene(here=here, nodes=nodes, settings=desired.settings, sizes=Sizes(nodes, self._sizes))
        for name, spec in desired.models.items():
            effects += self._look(self._remembered(name, spec, now), scene, now)
        return [*self._held(desired, here), *effects]

    def progressed(self, name: str, progress: Progress) -> list[Effect]:
        """Take how far a pull has come; it is stopped where the disk has no room for the rest."""
        model = self._models.get(name)
        if model is None or model.action is None:
            return []
        model.progress = progress
        if progress.total_bytes is None:
            return []
        self._sizes[name] = progress.total_bytes
        lack = progress.total_bytes - progress.completed_bytes + RESERVE_BYTES - (self._free_bytes or 0)
        if self._free_bytes is None or lack <= 0:
            return []
        model.action = model.progress = None
        model.stands("Blocked", f"needs {amount(lack)} more disk here")
        return [Stop(name)]

    def ended(self, name: str, now: float, error: str = "", *, retryable: bool = True) -> None:
        """Take that an action is done, or has failed with the engine's words."""
        model = self._models.get(name)
        if model is None or model.action is None:
            return
        model.action = model.progress = None
        if error:
            model.backoff.failed(error, now, retryable=retryable, random=self._random)
        else:
            model.backoff.reset()
        self._wake_at = now

    def answered(self, name: str, now: float, *, speaks: bool) -> None:
        """Take whether a token came out."""
        model = self._models.get(name)
        if model is not None:
            model.action, model.asked_at, model.is_mute = None, now, not speaks
            self._wake_at = now

    # --- inside --------------------------------------------------------------------------------------------------

    def _remembered(self, name: str, spec: ModelSpec, now: float) -> _Model:
        """What is known of a model; another declaration is tried at once, whatever came of the former."""
        model = self._models.setdefault(name, _Model(spec, Starts(now)))
        if model.spec != spec:
            model.spec = spec
            model.backoff.reset()
        return model

    def _let_go(self, desired: Desired) -> Iterable[Effect]:
        """Models that nobody declares any more; what runs for them ends, and what they have stays."""
        for name in [name for name in self._models if name not in desired.models]:
            self._sizes.pop(name, None)
            if self._models.pop(name).action is not None:
                yield Stop(name)

    def _look(self, model: _Model, scene: Scene, now: float) -> Iterable[Effect]:
        name = model.spec.name
        short_s = now - max(self._listening_until, now if model.short_since is None else model.short_since)
        decision = decide(model.spec, replace(scene, short_s=short_s))
        is_short = decision.claims or decision.wait_s is not None
        model.short_since = (now if model.short_since is None else model.short_since) if is_short else None
        model.claims = decision.claims and not model.backoff.wait_s(now)  # what fails here others may try meanwhile
        if decision.wait_s is not None:
            self._wake_by(now + decision.wait_s)
        if model.action is not None:
            yield from self._while_it_runs(model, decision, scene.here)
            return
        decision = self._asking(model, self._swept(model, decision, scene.here), scene.here, now)
        model.stands(decision.kind, decision.reason)
        if decision.action is not None and self._may_start(model, decision.action, scene.settings, now):
            model.action = decision.action
            yield Start(name, decision.action)

    def _while_it_runs(self, model: _Model, decision: Decision, here: NodeFacts) -> Iterable[Effect]:
        """Let it run; a pull that nobody wants here any more is ended."""
        assert model.action is not None
        if model.action.verb == "pull" and not _still_wanted(model.spec, decision, model.action, here):
            model.action = model.progress = None
            model.stands(decision.kind, decision.reason)
            self._wake_by(float("-inf"))
            yield Stop(model.spec.name)
        elif model.action.verb != "ask":
            model.stands("Progressing", DOING[model.action.verb])

    def _swept(self, model: _Model, decision: Decision, here: NodeFacts) -> Decision:
        """Once for each engine, end a pull that a former run of this node may have left in it."""
        if not model.spec.is_absent or decision.kind != "Ready":
            model.swept.clear()
            return decision
        for engine in here.suitable(model.spec):
            if "cancel" in engine.can and engine.condition == "ready" and engine.url not in model.swept:
                model.swept.add(engine.url)
                return replace(decision, action=Action(verb="cancel", url=engine.url, model=model.spec.name))
        return decision

    def _asking(self, model: _Model, decision: Decision, here: NodeFacts, now: float) -> Decision:
        """A model that is kept loaded is asked now and then: health in the sense that tokens come out."""
        there = next((found for found in here.found(model.spec) if found.model.loaded), None)
        if decision.kind != "Ready" or not model.spec.loaded or there is None:
            model.is_mute, model.asked_at = False, None
            return decision
        if model.asked_at is None:
            model.asked_at = now
        due_at = model.asked_at + (ASK_AGAIN_S if model.is_mute else ASK_EVERY_S)
        self._wake_by(max(due_at, now + BUSY_S))
        decision = replace(decision, kind="Degraded", reason=MUTE) if model.is_mute else decision
        if now < due_at or there.engine.in_flight or there.engine.running:
            return decision
        return replace(decision, action=Action(verb="ask", url=there.engine.url, model=there.model.name))

    def _may_start(self, model: _Model, action: Action, settings: Settings, now: float) -> bool:
        """Whether to begin now; if not, the condition says why, and `wake_at` when."""
        if (wait_s := model.backoff.wait_s(now)) > 0:
            model.stands("Degraded", model.backoff.error)
        elif action.verb == "ask":
            return True
        elif action.verb == "pull" and self._pulling() >= settings.pulls_per_node:
            model.stands("Progressing", "waits for another pull on this node")
            return False
        elif (wait_s := model.starts.wait_s(now)) > 0:
            if model.backoff.error:
                model.stands("Degraded", model.backoff.error)
            else:
                model.stands("Progressing", "was changed often; waits a moment")
        elif action.is_disruptive and (wait_s := self._budget.wait_s(settings.disruptions_per_hour, now)) > 0:
            limit, minutes = settings.disruptions_per_hour, max(1, round(wait_s / 60))
            model.stands("Blocked", f"{limit} disruptions an hour are allowed; the next in {minutes} min")
        if wait_s > 0:
            self._wake_by(now + wait_s)
            return False
        model.starts.take()
        if action.is_disruptive:
            self._budget.take(now)
        model.stands("Progressing", DOING[action.verb])
        return True

    def _pulling(self) -> int:
        return sum(1 for model in self._models.values() if model.action is not None and model.action.verb == "pull")

    def _held(self, desired: Desired, here: NodeFacts) -> Iterable[Effect]:
        """Our durable row, if it changed."""
        holds = Holds(
            has=frozenset(name for name, spec in desired.models.items() if here.has(spec)),
            claims=frozenset(name for name, model in self._models.items() if model.claims),
            failed=frozenset(name for name, model in self._models.items() if model.backoff.error),
        )
        if holds != here.holds:
            yield Hold(holds)

    def _wake_by(self, at: float) -> None:
        self._wake_at = min(self._wake_at, at)


def _still_wanted(spec: ModelSpec, decision: Decision, action: Action, here: NodeFacts) -> bool:
    """Whether a pull that runs is what is declared. That its engine does not answer looks meanwhile does not end it."""
    if spec.is_absent or decision.kind not in {"Progressing", "Blocked"} or spec.is_contested:
        return False
    meant = {engine.url for engine in here.suitable(spec)}
    return all(engine.url != action.url or engine.url in meant for engine in here.engines)
