"""The tasks around the machine: engines are told, what they answer is taken in, and nothing overlaps."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet_app.desired import NOTHING, By, Edit, Place, commit
from fleet_app.engine import Progress
from fleet_app.errors import BackendError
from fleet_app.presence import BackendPresence, Model, NodePresence
from fleet_app.reconcile import Reconciler
from fleet_app.view import FleetView, NodeView
from propagul import AgentStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from fleet_app.engine import Engine
    from fleet_app.presence import Verb

URL = "http://127.0.0.1:11434"
DEADLINE_S = 15.0


@dataclass
class FakeEngine:
    """An engine that waits to be let go on, and notes what it was told."""

    models: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    can: tuple[Verb, ...] = ("pull", "cancel", "delete", "load", "unload")
    url: str = URL

    @property
    def seen(self) -> BackendPresence:
        models = tuple(Model(name=name, loaded=False) for name in self.models)
        return BackendPresence(kind="ollama", url=URL, condition="ready", models=models, can=self.can)

    def named(self, model: str) -> str:
        return model

    async def pull(self, model: str) -> AsyncGenerator[Progress]:
        self.told.append(f"pull {model}")
        try:
            yield Progress(status="pulling", completed_bytes=1, total_bytes=4)
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
            self.models.append(model)
            yield Progress(status="success", completed_bytes=4, total_bytes=4)
        finally:
            self.told.append(f"closed {model}")

    async def cancel(self, model: str) -> None:
        self.told.append(f"cancel {model}")

    async def delete(self, model: str) -> None:
        self.told.append(f"delete {model}")
        self.models.remove(model)

    async def load(self, model: str, settings: Mapping[str, object]) -> None:
        self.told.append(f"load {model} {dict(settings)}")

    async def unload(self, model: str) -> None:
        self.told.append(f"unload {model}")

    async def speaks(self, model: str) -> bool:
        self.told.append(f"ask {model}")
        return True


class Box:
    """A node with one engine, as the reconciler looks at it."""

    def __init__(self, store: AgentStateStore, engine: FakeEngine) -> None:
        self.store, self.engine = store, engine
        self.notes: list[str] = []
        self.faults = 0
        self.reconciler = Reconciler(store, self)

    def view(self) -> FleetView:
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        said = NodePresence(name="a", version="1", at_s=0, started_s=0, backends=(self.engine.seen,))
        here = NodeView(id=self.store.node, name="a", state="up", reach="here", heard_s=0.0, presence=said)
        return FleetView(nodes=(here,))

    def engines(self) -> Sequence[Engine]:
        return (self.engine,)

    async def look_at(self, url: str) -> None:
        assert url == URL

    def absent_s(self) -> Mapping[str, float]:
        return {}

    def note(self, kind: str, model: str, words: str) -> None:
        assert model in words
        self.notes.append(f"{kind}: {words}")

    def changed(self) -> None: ...

    def declare(self, model: str, **fields: object) -> None:
        edits = [Edit(Place("models", model, name), value) for name, value in fields.items()]
        commit(self.store, edits, By("ann", time.time(), "test"))

    def stands(self, model: str) -> str:
        found = next((one for one in self.reconciler.conditions() if one.model == model), None)
        return "" if found is None else f"{found.kind} {found.reason}".strip()


@asynccontextmanager
async def running(**engine: object) -> AsyncIterator[Box]:
    store = AgentStateStore("fleet", port=None)
    box = Box(store, FakeEngine(**engine))  # type: ignore[arg-type]  # fields of it
    async with asyncio.TaskGroup() as group:
        task = group.create_task(box.reconciler.run())
        try:
            yield box
        finally:
            task.cancel()
    store.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_pull_is_followed_to_its_end_and_said() -> None:
    async def run() -> None:
        async with running() as box:
            box.declare("m", where="all")
            await until(lambda: box.reconciler.pulls() and box.reconciler.pulls()[0].total_bytes == 4)
            assert box.stands("m") == "Progressing being pulled"
            box.engine.go_on.set()
            await until(lambda: box.stands("m") == "Ready")
            assert box.engine.told == ["pull m", "closed m"]
            assert box.notes == ["pull_begun: m is being pulled", "pull_done: m was pulled"]

    asyncio.run(run())


def test_a_pull_that_is_not_wanted_any_more_is_closed_then_cancelled_and_deletes_nothing() -> None:
    async def run() -> None:
        async with running() as box:
            box.declare("m", where="all")
            await until(lambda: box.engine.told == ["pull m"])
            box.declare("m", where=NOTHING)
            await until(lambda: "cancel m" in box.engine.told)
            assert box.engine.told == ["pull m", "closed m", "cancel m"]
            assert box.stands("m") == ""

    asyncio.run(run())


def test_what_comes_next_for_a_model_waits_for_what_was_before() -> None:
    async def run() -> None:
        async with running() as box:
            box.declare("m", where="all")
            await until(lambda: box.engine.told == ["pull m"])
            box.declare("m", where=NOTHING)
            await until(lambda: "cancel m" in box.engine.told)
            box.declare("m", where="all")
            await until(lambda: box.engine.told.count("pull m") == 2)
            assert box.engine.told[:4] == ["pull m", "closed m", "cancel m", "pull m"]

    asyncio.run(run())


def test_a_failure_is_said_in_the_engines_words_and_a_fault_of_ours_ends_nothing() -> None:
    async def run() -> None:
        for error, words in (
            (BackendError("pull model manifest: file does not exist", retryable=False), "file does not exist"),
            (ZeroDivisionError("a canary"), "a defect of Propagul: ZeroDivisionError; the log says more"),
        ):
            async with running(error=error) as box:
                box.engine.go_on.set()
                box.declare("m", where="all")
                await until(lambda box=box: box.stands("m").startswith("Degraded"))  # type: ignore[misc]
                assert words in box.stands("m")
                assert "canary" not in box.stands("m")
                box.engine.models.append("old")
                box.declare("old", where="all", state="absent")
                await until(lambda box=box: box.stands("old") == "Ready gone")  # type: ignore[misc]
                assert "delete old" in box.engine.told

    asyncio.run(run())


def test_a_fault_in_reading_the_fleet_ends_nothing() -> None:
    async def run() -> None:
        async with running(models=["m"]) as box:
            box.faults = 2
            box.declare("m", where="all")

            def is_over() -> bool:
                box.reconciler.wake()
                return not box.faults

            await until(is_over)
            box.reconciler.wake()
            await until(lambda: box.stands("m") == "Ready")

    asyncio.run(run())


def test_the_nodes_own_row_says_what_it_holds() -> None:
    async def run() -> None:
        async with running(models=["m"]) as box:
            box.declare("m", where="all", replicas=1)
            await until(lambda: box.store.get(f"nodes/{box.store.node}/holds") == {"has": ["m"]})

    asyncio.run(run())
