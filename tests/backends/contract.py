"""What every adapter keeps, whichever engine it speaks to: one class of tests, and what an engine needs to take part.

`EngineContract` is for all of them; `Pulls`, `Deletes`, `Loads` and so on are for those that can. They are derived from
once an engine, in `test_contract` for replays and the real llama.cpp, in `test_real_engines` for what is found on the
machine.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import Scanner
from fleet_app.errors import BackendError
from fleet_app.presence import BackendPresence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractContextManager

    from fleet_app.engine import Engine, Progress
    from fleet_app.presence import BackendKind, Model, Verb

NAMES = ("llama3.2", "llama3.2:latest", "LLAMA3.2:Latest", "a/b", "hf.co/a/b-GGUF:Q4_K_M", "", ":", "/", "x" * 300, "é")


@dataclass(slots=True, kw_only=True)
class Bench:
    """An engine that takes part.

    Attributes:
        url: Where it is.
        kind: What it is to be recognised as.
        can: What it can be told to do.
        model: One that it has.
        other: Another one that may be deleted, where it can delete.
        embedder: One that embeds and does nothing else.
        pullable: One that can be pulled.
        settings: How a model may be loaded, in the engine's words, and the context that comes of it.
        end: Ends it as a crash would.
        asked: How often a path was asked for, where somebody counts.
    """

    url: str
    kind: BackendKind
    can: tuple[Verb, ...]
    model: str
    end: Callable[[], object]
    other: str = ""
    embedder: str = ""
    pullable: str = ""
    settings: tuple[dict[str, object], int] = ({}, 0)
    asked: Callable[[str], int] = field(default=lambda _: 0)


@dataclass(slots=True)
class Sight:
    """A scanner over one engine, and the engine."""

    scanner: Scanner
    engine: Engine

    async def look(self) -> BackendPresence:
        """What is seen now."""
        await self.scanner.scan_once()
        return self.engine.seen

    async def model(self, name: str) -> Model | None:
        """What is seen of a model now."""
        seen = await self.look()
        return next((held for held in seen.models if held.name == self.engine.named(name)), None)


@asynccontextmanager
async def sight(url: str) -> AsyncIterator[Sight]:
    """Look at an engine."""
    scanner = Scanner(urls=[url], detect=False)
    await scanner.scan_once()
    [engine] = scanner.engines()
    yield Sight(scanner, engine)


async def pulled(engine: Engine, model: str) -> list[Progress]:
    """A pull to its end."""
    return await rest_of(engine.pull(model))


async def rest_of(pull: AsyncIterator[Progress]) -> list[Progress]:
    """What is still to come of a pull."""
    return [progress async for progress in pull]


def verb_calls(engine: Engine, model: str) -> dict[str, Callable[[], Coroutine[object, object, object]]]:
    """Each verb, ready to be called."""
    return {
        "pull": lambda: pulled(engine, model),
        "delete": lambda: engine.delete(model),
        "load": lambda: engine.load(model, {}),
        "unload": lambda: engine.unload(model),
    }


async def engine_at(url: str) -> Engine:
    """The engine there, as one look sees it."""
    async with sight(url) as seen:
        return seen.engine


async def refusal_of(call: Coroutine[object, object, object]) -> BackendError:
    """The error that `call` ends with, checked for its form."""
    with pytest.raises(BackendError) as caught:
        await call
    text = str(caught.value)
    assert 0 < len(text) <= 256
    assert text.isprintable()
    return caught.value


class EngineContract(ABC):
    """The tests. `bench` gives an engine of its own to each."""

    @abstractmethod
    def bench(self) -> AbstractContextManager[Bench]:
        """An engine with models, and nothing in memory where it can unload."""

    def check(self, test: Callable[[Bench, Sight], Coroutine[object, object, None]]) -> None:
        """Run a test over a bench."""

        async def run(bench: Bench) -> None:
            async with sight(bench.url) as seen:
                await test(bench, seen)

        with self.bench() as bench:
            asyncio.run(run(bench))

    def test_it_is_seen_as_what_it_is_with_its_models_and_what_it_can(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            seen = sight.engine.seen
            assert (seen.kind, seen.url, seen.condition) == (bench.kind, bench.url, "ready"), seen.reason
            assert set(seen.can) == set(bench.can)
            assert BackendPresence.model_validate_json(seen.model_dump_json()) == seen
            held = await sight.model(bench.model)
            assert held is not None
            assert held.name == sight.engine.named(held.name)
            if bench.embedder:
                embedder = await sight.model(bench.embedder)
                assert embedder is not None
                assert "embeddings" in embedder.capabilities
                assert "chat" not in embedder.capabilities

        self.check(test)

    def test_names_have_one_form_and_keep_it(self) -> None:
        async def test(_: Bench, sight: Sight) -> None:
            for name in NAMES:
                assert sight.engine.named(sight.engine.named(name)) == sight.engine.named(name)

        self.check(test)

    def test_an_engine_is_the_same_over_looks(self) -> None:
        async def test(_: Bench, sight: Sight) -> None:
            before = sight.engine.seen
            await sight.look()
            assert sight.scanner.engines() == (sight.engine,)
            assert sight.scanner.current() == (sight.engine.seen,)
            assert sight.engine.seen == before

        self.check(test)

    def test_what_an_engine_cannot_do_it_says_for_good_and_with_a_way(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            for verb, call in verb_calls(sight.engine, bench.model).items():
                if verb not in bench.can:
                    error = await refusal_of(call())
                    assert not error.retryable
                    assert bench.model in str(error)
                    assert ": " in str(error)
            await sight.engine.cancel(bench.model)  # nothing is under way

        self.check(test)

    def test_an_engine_that_is_gone_is_shown_so_and_may_come_back(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            bench.end()
            for verb, call in verb_calls(sight.engine, bench.pullable or bench.model).items():
                if verb in bench.can:
                    assert (await refusal_of(call())).retryable
            assert (await refusal_of(sight.engine.speaks(bench.model))).retryable
            seen = await sight.look()
            assert (seen.condition, seen.models, seen.can) == ("unreachable", (), ())

        self.check(test)


class Pulls(EngineContract):
    """An engine that pulls; `pullable` is set."""

    def test_a_pull_tells_how_far_it_is_and_ends_with_the_model_there(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            assert await sight.model(bench.pullable) is None
            steps = await pulled(sight.engine, bench.pullable)
            done = [step.completed_bytes for step in steps]
            assert done == sorted(done)
            assert all(step.total_bytes is None or step.completed_bytes <= step.total_bytes for step in steps)
            assert await sight.model(bench.pullable) is not None
            await pulled(sight.engine, bench.pullable)  # again, and it is there already

        self.check(test)

    def test_two_pulls_of_one_model_end_both(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            await asyncio.gather(pulled(sight.engine, bench.pullable), pulled(sight.engine, bench.pullable))
            assert await sight.model(bench.pullable) is not None

        self.check(test)

    def test_a_pull_of_what_does_not_exist_fails_for_good_with_the_engines_words(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            name = bench.pullable.replace("pullable", "nothing-of-that-name")
            error = await refusal_of(pulled(sight.engine, name))
            assert not error.retryable, error

        self.check(test)

    def test_a_pull_that_is_left_can_be_taken_up_again(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            async with aclosing(sight.engine.pull(bench.pullable)) as pull:
                async for _ in pull:
                    break
            await pulled(sight.engine, bench.pullable)
            assert await sight.model(bench.pullable) is not None

        self.check(test)


class Deletes(EngineContract):
    """An engine that deletes; `other` is set."""

    def test_what_is_deleted_is_gone_and_deleting_it_again_is_no_error(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            assert await sight.model(bench.other) is not None
            await sight.engine.delete(bench.other)
            assert await sight.model(bench.other) is None
            await sight.engine.delete(bench.other)
            assert await sight.model(bench.model) is not None

        self.check(test)


class Loads(EngineContract):
    """An engine that loads, unloads and can bring out tokens."""

    def test_looking_brings_nothing_into_memory(self) -> None:
        async def test(_: Bench, sight: Sight) -> None:
            await sight.look()
            await sight.look()
            assert [held.name for held in sight.engine.seen.models if held.loaded] == []

        self.check(test)

    def test_a_model_is_loaded_speaks_and_is_unloaded(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            for name in filter(None, (bench.model, bench.embedder)):
                await sight.engine.load(name, {})
                held = await sight.model(name)
                assert held is not None
                assert held.loaded
                assert await sight.engine.speaks(name)
                await sight.engine.load(name, {})  # again, and it is loaded already
                await sight.engine.unload(name)
                held = await sight.model(name)
                assert held is not None
                assert not held.loaded
                await sight.engine.unload(name)

        self.check(test)

    def test_settings_that_the_engine_has_not_are_refused(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            error = await refusal_of(sight.engine.load(bench.model, {"num_ctxx": 1}))
            assert not error.retryable
            assert "num_ctxx" in str(error)

        self.check(test)

    def test_asking_whether_a_model_speaks_never_loads_it(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            await refusal_of(sight.engine.speaks(bench.model))
            held = await sight.model(bench.model)
            assert held is not None
            assert not held.loaded

        self.check(test)


class LoadsAsTold(EngineContract):
    """An engine that takes settings for loading; `settings` are set."""

    def test_a_model_is_loaded_as_it_is_told(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            settings, context = bench.settings
            for wanted in (settings, settings):
                await sight.engine.load(bench.model, wanted)
                held = await sight.model(bench.model)
                assert held is not None
                assert held.context == context
            assert await sight.engine.speaks(bench.model)
            held = await sight.model(bench.model)
            assert held is not None
            assert held.context == context

        self.check(test)


class AlwaysLoaded(EngineContract):
    """An engine whose models are always in memory."""

    def test_what_is_always_in_memory_speaks(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            assert await sight.engine.speaks(bench.model)

        self.check(test)


class Embeds(EngineContract):
    """An engine with a model that embeds; `embedder` is set."""

    def test_a_model_that_embeds_is_never_asked_to_chat(self) -> None:
        async def test(bench: Bench, sight: Sight) -> None:
            if "load" in bench.can:
                await sight.engine.load(bench.embedder, {})
                await sight.look()
            assert await sight.engine.speaks(bench.embedder)
            assert bench.asked("/v1/chat/completions") == bench.asked("/api/generate") == 0

        self.check(test)
