"""A fleet in virtual time: nodes with machines, engines and copies of the replica, and everything that goes wrong.

The machines are the real ones. Around them stand engines that pull, fail and hang as told, links that break, boxes that
crash and come back, and an oracle that stands beside every delete. One seed is one run.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from fleet_app.desired import By, Desired, Edit, Holds, NodeFacts, Place, commit
from fleet_app.engine import Progress
from fleet_app.names import canonical
from fleet_app.presence import BackendPresence, Model, Usage
from fleet_app.reconcile import Hold, Machine, Start, Stop
from tests.reconcile.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fleet_app.desired import Action
    from fleet_app.presence import BackendCondition, Condition, Verb

GB = 10**9
GOSSIP_S = 1.0
PEERS_MATTER_S = 5.0
ALL_VERBS: tuple[Verb, ...] = ("pull", "delete", "load", "unload")


@dataclass
class SimEngine:
    """An engine: what is on its disk, what is in memory, and how it behaves.

    Attributes:
        fails: How many of the next pulls fail.
        pull_s: How long one takes.
        is_mute: Whether loaded models bring out no token.
    """

    kind: str = "ollama"
    models: dict[str, bool] = field(default_factory=dict)
    condition: BackendCondition = "ready"
    can: tuple[Verb, ...] = ALL_VERBS
    fails: int = 0
    pull_s: float = 30.0
    size_bytes: int = 4 * GB
    is_mute: bool = False

    def seen(self, url: str) -> BackendPresence:
        models = [Model(name=name, loaded=loaded, size_bytes=self.size_bytes) for name, loaded in self.models.items()]
        listed = tuple(models) if self.condition == "ready" else ()
        return BackendPresence(
            kind=self.kind,  # type: ignore[arg-type]
            url=url,
            condition=self.condition,
            models=listed,
            can=self.can,
        )


@dataclass
class SimNode:
    """A box."""

    id: str
    engine: SimEngine
    replica: Replica
    disk_bytes: int = 500 * GB
    is_running: bool = True
    machine: Machine | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    heard: dict[str, tuple[float, NodeFacts]] = field(default_factory=dict)
    absent_s: dict[str, float] = field(default_factory=dict)
    actions: list[tuple[float, Action]] = field(default_factory=list)
    step_at: float | None = None
    _read: tuple[int, Desired] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:11434/{self.id}"

    def desired(self) -> Desired:
        """What this box's copy declares, read again when the copy has changed."""
        if self._read is None or self._read[0] != self.replica.changes:
            self._read = self.replica.changes, Desired.read(self.replica)
        return self._read[1]

    def facts(self, desired: Desired) -> NodeFacts:
        used = sum(self.engine.size_bytes for _ in self.engine.models)
        return NodeFacts(
            id=self.id,
            name=self.id,
            labels={"box": self.id},
            spec=desired.node(self.id),
            engines=(self.engine.seen(self.url),),
            holds=Holds.read(self.replica.get(f"nodes/{self.id}/holds")),
            disk=Usage(used_bytes=used, total_bytes=self.disk_bytes),
        )


class World:
    """All of it.

    Args:
        names: The boxes.
        seed: Of everything that is random.

    Attributes:
        gossip_s: How often everyone meets others. Raise it for runs of days.
    """

    def __init__(self, names: Sequence[str], seed: int = 0) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.wall = 1_764_000_000.0
        self.nodes = {name: SimNode(name, SimEngine(), Replica(name)) for name in names}
        self.cut: set[frozenset[str]] = set()
        self.deleted: list[tuple[float, str, str]] = []
        self.told_absent: set[str] = set()
        self._shapes: dict[str, object] = {}
        self._told: dict[str, NodeFacts] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        for node in self.nodes.values():
            self._boot(node)
        self.gossip_s = GOSSIP_S
        self._gossip()

    # --- what a test does ------------------------------------------------------------------------------------------

    def declare(self, at: str, model: str, **fields: object) -> None:
        """Edit a declaration on one node; None takes a field away."""
        settings = fields.pop("settings", {})
        assert isinstance(settings, dict)
        edits = [Edit(Place("models", model, name), value) for name, value in fields.items()]
        edits += [Edit(Place("models", model, "settings", key), value) for key, value in settings.items()]
        self.edit(at, *edits)

    def edit(self, at: str, *edits: Edit) -> None:
        node = self.nodes[at]
        self.told_absent |= {edit.place.name for edit in edits if edit.value == "absent"}
        if commit(node.replica, edits, By("ann", self.wall + self.now, "test")) is not None:
            self._soon(node)

    def partition(self, *groups: Sequence[str]) -> None:
        """Only nodes of one group hear each other."""
        side = {name: number for number, group in enumerate(groups) for name in group}
        self.cut = {frozenset((a, b)) for a in self.nodes for b in self.nodes if a < b and side.get(a) != side.get(b)}

    def heal(self) -> None:
        self.cut = set()

    def crash(self, name: str) -> None:
        """As `kill -9`: what the node remembered is gone, and so are the pulls of an engine that needs a listener."""
        node = self.nodes[name]
        node.is_running, node.machine, node.step_at = False, None, None
        node.jobs.clear()
        node.heard.clear()

    def restart(self, name: str) -> None:
        node = self.nodes[name]
        if not node.is_running:
            node.is_running = True
            self._boot(node)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    # --- what a test looks at --------------------------------------------------------------------------------------

    def desired(self, name: str) -> Desired:
        return self.nodes[name].desired()

    @property
    def silence_s(self) -> float:
        """Who was not heard for so long is away."""
        return 10 * self.gossip_s

    def having(self, model: str) -> list[str]:
        wanted = canonical("ollama", model)
        return sorted(node.id for node in self.nodes.values() if wanted in node.engine.models)

    def condition(self, name: str, model: str) -> Condition | None:
        machine = self.nodes[name].machine
        assert machine is not None
        return next((condition for condition in machine.conditions() if condition.model == model), None)

    def actions(self, verb: str = "") -> list[tuple[float, str, Action]]:
        """Everything that was begun, in order."""
        done = [(at, node.id, action) for node in self.nodes.values() for at, action in node.actions]
        return sorted((item for item in done if verb in {"", item[2].verb}), key=lambda item: item[0])

    # --- the world's own course ------------------------------------------------------------------------------------

    def _boot(self, node: SimNode) -> None:
        node.machine = Machine(node.id, random=self.random.random, now=self.now)
        self._soon(node)

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._numbers), event))

    def _soon(self, node: SimNode, delay_s: float = 0.1) -> None:
        at = self.now + delay_s
        if node.step_at is None or at < node.step_at:
            node.step_at = at
            self.after(delay_s, lambda: self._step(node, at))

    def _gossip(self) -> None:
        """Everyone meets two others; presence of all goes round with it."""
        self.after(self.gossip_s, self._gossip)
        running = [node for node in self.nodes.values() if node.is_running]
        for node in running:
            for other in self.random.sample(running, min(3, len(running))):
                if other is not node and self._hear_each_other(node, other):
                    for taker, giver in ((other, node), (node, other)):
                        if taker.replica.merge(giver.replica):
                            self._soon(taker)
        said = {node.id: self._said(node) for node in running}
        for node in running:
            self._listen(node, said)

    def _hear_each_other(self, a: SimNode, b: SimNode) -> bool:
        return frozenset((a.id, b.id)) not in self.cut

    def _listen(self, node: SimNode, said: Mapping[str, NodeFacts]) -> None:
        """Take what the others tell, and count for how long nothing was heard of those that are silent."""
        for other, facts in said.items():
            if other != node.id and self._hear_each_other(node, self.nodes[other]):
                before = node.heard.get(other)
                if before is None or before[1] is not facts:
                    self._soon(node, PEERS_MATTER_S)
                node.heard[other] = (self.now, facts)
                node.absent_s[other] = 0.0
        for other in self.nodes:
            if other != node.id and node.heard.get(other, (float("-inf"),))[0] < self.now - self.silence_s:
                node.absent_s[other] = node.absent_s.get(other, 0.0) + self.gossip_s

    def _said(self, node: SimNode) -> NodeFacts:
        """What a box tells the others; the same object as long as it is the same."""
        engine = node.engine
        shape = (tuple(engine.models.items()), engine.condition)
        if self._shapes.get(node.id) != shape:
            self._shapes[node.id], self._told[node.id] = shape, node.facts(Desired())
        return self._told[node.id]

    def _step(self, node: SimNode, due: float) -> None:
        if node.step_at != due:
            return
        node.step_at = None
        if node.machine is None:
            return
        desired = node.desired()
        for effect in node.machine.step(desired, self._facts(node, desired), self.now):
            match effect:
                case Start(model, action):
                    self._start(node, model, action)
                case Stop(model):
                    node.jobs.pop(model, None)
                case Hold(holds):
                    node.replica.set(f"nodes/{node.id}/holds", holds.packed())
        self._soon(node, max(0.05, node.machine.wake_at - self.now))

    def _facts(self, node: SimNode, desired: Desired) -> list[NodeFacts]:
        """The fleet as this node sees it: itself, whom it heard, and whom it knows by a durable row."""
        found = [node.facts(desired)]
        known = {key.split("/")[1]: value for key, value in node.replica.items("nodes/")}
        for other in sorted({*known, *node.heard} - {node.id}):
            at, said = node.heard.get(other, (float("-inf"), None))
            holds = Holds.read(known.get(other))
            spec = desired.node(other)
            is_up = at >= self.now - self.silence_s
            base = said or NodeFacts(id=other, name=other, labels={}, spec=spec)
            away = node.absent_s.get(other, 0.0)
            found.append(replace(base, spec=spec, holds=holds, is_up=is_up, absent_s=0.0 if is_up else away))
        return sorted(found, key=lambda facts: facts.id)

    def _start(self, node: SimNode, model: str, action: Action) -> None:
        node.actions.append((self.now, action))
        if action.verb == "delete":
            self._judge(node, model)
        job = next(self._numbers)
        node.jobs[model] = job
        seconds = node.engine.pull_s * self.random.uniform(0.5, 1.5) if action.verb == "pull" else 0.5
        if action.verb == "pull":
            self.after(seconds / 2, lambda: self._half(node, model, job))
        self.after(seconds, lambda: self._end(node, model, action, job))

    def _half(self, node: SimNode, model: str, job: int) -> None:
        if node.jobs.get(model) == job and node.machine is not None:
            size = node.engine.size_bytes
            progress = Progress(status="pulling", completed_bytes=size // 2, total_bytes=size)
            if node.machine.progressed(model, progress):
                node.jobs.pop(model, None)

    def _end(self, node: SimNode, model: str, action: Action, job: int) -> None:
        if node.jobs.get(model) != job or node.machine is None:
            return
        del node.jobs[model]
        engine = node.engine
        if engine.condition != "ready":
            node.machine.ended(model, self.now, "it does not answer")
        elif action.verb == "pull" and engine.fails > 0:
            engine.fails -= 1
            node.machine.ended(model, self.now, "pull model manifest: no route to host")
        else:
            match action.verb:
                case "pull":
                    engine.models[canonical(engine.kind, action.model)] = False
                case "delete":
                    engine.models.pop(action.model, None)
                    self.deleted.append((self.now, node.id, action.model))
                case "load" | "unload":
                    engine.models[action.model] = action.verb == "load"
                case "ask":
                    node.machine.answered(model, self.now, speaks=not engine.is_mute)
            node.machine.ended(model, self.now)
        self._soon(node)

    def _judge(self, node: SimNode, model: str) -> None:
        """The oracle, by the bare rows: a delete needs a word of somebody, uncontested, that means this model here."""
        row = f"desired/models/{model}"
        said = [packed[0] for packed in node.replica.siblings(f"{row}/state")]  # type: ignore[index]  # value, author
        where = [packed[0] for packed in node.replica.siblings(f"{row}/where")]  # type: ignore[index]
        assert model in self.told_absent, f"{node.id} deletes {model}, which nobody ever declared absent"
        assert {*said} == {"absent"}, f"{node.id} deletes {model}, of which is said: {said}"
        assert where, f"{node.id} deletes {model}, and nobody says where"
        assert _means(where[0], node.id), f"{node.id} deletes {model}, which is meant elsewhere: {where[0]}"


def _means(where: object, box: str) -> bool:
    match where:
        case "all":
            return True
        case {"nodes": names}:
            return box in names
        case {"labels": {"box": name}}:
            return bool(box == name)
    raise AssertionError(f"this world declares nothing like {where!r}")
