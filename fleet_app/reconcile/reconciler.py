"""The one file here with tasks: it feeds the machine, tells engines what it decides, and writes this node's row.

One task looks, one watches what is declared, and each action has one of its own. Actions on one model never overlap: a
new one begins when the former has ended, however it ends. When this process stops, what engines do by themselves goes
on; whoever starts next finds it there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from fleet_app.desired import Desired, Holds, facts_of
from fleet_app.errors import BackendError
from fleet_app.reconcile.machine import RESYNC_S, Hold, Machine, Start, Stop
from fleet_app.reconcile.words import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleet_app.desired import Action, NodeFacts, Rows
    from fleet_app.engine import Engine
    from fleet_app.presence import Condition, Pull
    from fleet_app.reconcile.machine import Effect
    from fleet_app.view import FleetView
    from propagul import AgentStateStore

_log = logging.getLogger(__name__)

NODES: Final = "nodes/"
HOLDS: Final = "/holds"
DECLARED: Final = "desired/"

PEERS_EVERY_S: Final = 5.0
"""How often it looks again because others may have changed."""

EDITS_WAIT_S: Final = 0.1
"""How long an edit may wait for the rest of its burst."""


def held_in(rows: Rows) -> dict[str, Holds]:
    """What every node's durable row says of the models it holds, by node."""
    return {
        key.removeprefix(NODES).removesuffix(HOLDS): Holds.read(row)
        for key, row in rows.items(NODES)
        if key.endswith(HOLDS)
    }


class Surroundings(Protocol):
    """What a reconciler needs of its node."""

    def view(self) -> FleetView:
        """The fleet as this node sees it now."""

    def engines(self) -> Sequence[Engine]:
        """The engines beside this node."""

    async def look_at(self, url: str) -> None:
        """Look at an engine again: what was done to it is seen from then on."""

    def absent_s(self) -> Mapping[str, float]:
        """For how long each node has been away while this one watched."""

    def note(self, kind: str, model: str, words: str) -> None:
        """Keep what happened for people."""

    def changed(self) -> None:
        """Conditions or pulls are others now."""


class Reconciler:
    """Keeps this node as it is declared to be. `run` it in one task of the node."""

    def __init__(self, store: AgentStateStore, around: Surroundings, *, disrupted_s_ago: Sequence[float] = ()) -> None:
        self._store, self._around = store, around
        self._machine = Machine(store.node, random=random.random, now=time.monotonic(), spent_s_ago=disrupted_s_ago)
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._desired: Desired | None = None
        self._shown: tuple[tuple[Condition, ...], tuple[Pull, ...]] = ((), ())

    def desired(self) -> Desired:
        """All that is declared, as this node knows it."""
        if self._desired is None:
            self._desired = Desired.read(self._store)
        return self._desired

    def conditions(self) -> tuple[Condition, ...]:
        """How each declared model that means this node stands."""
        return self._machine.conditions()

    def pulls(self) -> tuple[Pull, ...]:
        """What is on its way here."""
        return self._machine.pulls()

    def wake(self) -> None:
        """Look again soon: an engine or another node has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            while True:
                self._wake.clear()
                try:
                    self._step(group)
                # supervisor: a fault of ours in reading the fleet must not end the node; it looks again
                except Exception:  # noqa: BLE001 - logged with its trace
                    _log.exception("reconcile.defect")
                await self._next()

    async def _next(self) -> None:
        """Wait until something is due or wakes us."""
        left_s = RESYNC_S
        if self.desired().models:
            left_s = min(self._machine.wake_at - time.monotonic(), PEERS_EVERY_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(EDITS_WAIT_S, left_s)):
                await self._wake.wait()
                await asyncio.sleep(EDITS_WAIT_S)

    async def _watch(self) -> None:
        async for _ in self._store.watch(DECLARED):
            self._desired = None
            self._wake.set()

    def nodes(self, desired: Desired) -> tuple[NodeFacts, ...]:
        """The fleet as placement looks at it, if this were declared."""
        return facts_of(self._around.view(), desired, held_in(self._store), self._around.absent_s())

    def _step(self, group: asyncio.TaskGroup) -> None:
        desired = self.desired()
        if desired.models or self._machine.remembers:
            self._perform(self._machine.step(desired, self.nodes(desired), time.monotonic()), group)
            self._tell()

    def _perform(self, effects: Sequence[Effect], group: asyncio.TaskGroup) -> None:
        for effect in effects:
            match effect:
                case Start(model, action):
                    self._tasks[model] = group.create_task(self._act(model, action, self._tasks.get(model), group))
                case Stop(model):
                    self._stop(model, group)
                case Hold(holds):
                    self._store.set(NODES + self._store.node + HOLDS, holds.packed())
                case _:
                    assert_never(effect)

    def _stop(self, model: str, group: asyncio.TaskGroup) -> None:
        """End what runs for a model, and what goes on in the engine by itself."""
        running = self._tasks.get(model)
        if running is not None and not running.done():
            running.cancel()
            self._around.note("pull_ended", model, f"the pull of {model} was ended: it is not wanted here any more")
            self._tasks[model] = group.create_task(self._cancelled(model, running))

    async def _cancelled(self, model: str, running: asyncio.Task[None]) -> None:
        await asyncio.wait([running])
        for engine in self._around.engines():
            if "cancel" in engine.seen.can:
                try:
                    await engine.cancel(model)
                except BackendError as error:
                    _log.info("reconcile.cancel model=%s engine=%s: %s", model, engine.url, error)
                # supervisor: as for every other act on an engine
                except Exception:  # noqa: BLE001 - logged with its trace
                    _log.exception("reconcile.defect", extra={"model": model, "verb": "cancel"})

    async def _act(
        self, model: str, action: Action, before: asyncio.Task[None] | None, group: asyncio.TaskGroup
    ) -> None:
        """One action from its beginning to its end, and a look at what came of it."""
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._told(model, action, group)
            if action.verb != "ask":
                await self._around.look_at(action.url)
        except BackendError as error:
            self._ended(model, action, str(error), retryable=error.retryable)
        # supervisor: a fault of ours with one engine must not end the reconciler over all others
        except Exception as error:  # noqa: BLE001 - logged with its trace, and said as the model's condition
            _log.exception("reconcile.defect", extra={"model": model, "verb": action.verb})
            self._ended(model, action, f"a defect of Propagul: {type(error).__name__}; the log says more")
        else:
            self._ended(model, action)

    async def _told(self, model: str, action: Action, group: asyncio.TaskGroup) -> None:
        """Tell the engine.

        Raises:
            BackendError: It failed, or is gone.
        """
        engine = self._engine(action)
        if action.verb != "ask":
            _log.info("reconcile.act verb=%s model=%s engine=%s", action.verb, action.model, action.url)
        if action.verb == "pull":
            self._around.note("pull_begun", model, f"{model} is being pulled")
        match action.verb:
            case "pull":
                async with aclosing(engine.pull(action.model)) as steps:
                    async for progress in steps:
                        self._perform(self._machine.progressed(model, progress), group)
                        self._tell()
            case "cancel":
                await engine.cancel(action.model)
            case "delete":
                await engine.delete(action.model)
            case "load":
                await engine.load(action.model, action.settings)
            case "unload":
                await engine.unload(action.model)
            case "ask":
                speaks = await engine.speaks(action.model)
                self._machine.answered(model, time.monotonic(), speaks=speaks)
            case _:
                assert_never(action.verb)

    def _engine(self, action: Action) -> Engine:
        """The engine that an action is for.

        Raises:
            BackendError: It is gone.
        """
        engine = next((one for one in self._around.engines() if one.url == action.url), None)
        if engine is None:
            raise BackendError(f"the engine at {action.url} is gone", retryable=True)
        return engine

    def _ended(self, model: str, action: Action, error: str = "", *, retryable: bool = True) -> None:
        self._machine.ended(model, time.monotonic(), error, retryable=retryable)
        if action.verb not in {"cancel", "ask"}:
            words = (FAILED if error else DONE)[action.verb]
            kind = f"{action.verb}_{'failed' if error else 'done'}"
            self._around.note(kind, model, words.format(model=model, error=error))
        self._wake.set()

    def _tell(self) -> None:
        shown = (self._machine.conditions(), self._machine.pulls())
        if shown != self._shown:
            self._shown = shown
            self._around.changed()
