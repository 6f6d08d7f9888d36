"""Items on several machines: replicated, searched where nobody embedded them, edited at the same time, and kept."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.store.base import PutOp
from propagul_langgraph.store import PropagulStore

from propagul import AgentStateStore, LocalProtocolError
from tests.agents.langgraph_store.world import Clock, Embedder, by_words, opened
from tests.store.syncs import CountedSyncs
from tests.store.world import address, loopback, pair, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from langgraph.store.base import SearchItem

ACKNOWLEDGER = """
import sys
import threading
from propagul import AgentStateStore
from propagul_langgraph.store import PropagulStore
from tests.agents.langgraph_store.world import by_words

store = PropagulStore(AgentStateStore("room", port=None, path=sys.argv[1]), index=by_words())
number = int(sys.argv[2])
while True:
    store.put(("a", str(number % 3)), str(number), {"text": f"word{number} cat"}, ttl=1000 if number % 2 else None)
    print(number, flush=True)
    number += 1
"""


@asynccontextmanager
async def apart(**options: Any) -> AsyncIterator[tuple[PropagulStore, PropagulStore]]:
    """Two memories that do not know of each other yet; `meet` links them."""
    async with loopback("a") as a, loopback("b") as b:
        yield PropagulStore(a, index=by_words(), **options), PropagulStore(b, index=by_words(), **options)


async def meet(one: PropagulStore, other: PropagulStore) -> None:
    """Link two and wait until both hold the same."""
    one.store.add_peer(*address(other.store))
    await until(lambda: one.store.linked() and other.store.linked())
    for store in (one, other):
        store.store.set("seen", 1)
        await store.store.flush(peers=1)
    await until(lambda: one.store.get_all() == other.store.get_all())


def nearest(store: PropagulStore, query: str) -> SearchItem:
    return store.search((), query=query, limit=1)[0]


def test_what_is_put_on_one_machine_is_searched_on_another_that_never_embedded_it() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            writer, embedder = PropagulStore(a, index=by_words()), Embedder()
            reader = PropagulStore(b, index=by_words(embedder))
            await writer.aput(("users", "1"), "cat", {"text": "red cat"})
            await writer.abatch([PutOp(("users", "2"), str(n), {"text": f"dog{n}"}) for n in range(50)])
            await a.flush(peers=1)
            item = await reader.aget(("users", "1"), "cat")
            assert item == await writer.aget(("users", "1"), "cat")
            assert embedder.calls == []
            found = await reader.asearch(("users",), query="red cat", limit=3)
            assert [item.dict() for item in found] == [
                item.dict() for item in await writer.asearch(("users",), query="red cat", limit=3)
            ]
            assert found[0].key == "cat"
            assert embedder.calls == [["red cat"]]
            await writer.adelete(("users", "1"), "cat")
            await a.flush(peers=1)
            assert await reader.aget(("users", "1"), "cat") is None
            assert not [key for key in b.keys("lgs/") if key.endswith("/cat")]

    run(scenario)


def test_concurrent_edits_are_all_shown_until_a_put_settles_them() -> None:
    async def scenario() -> None:
        async with apart() as (a, b):
            for store, text in ((a, "red cat"), (b, "green dog")):
                store.put(("n",), "k", {"text": text})
            await meet(a, b)
            kept = [item.value["text"] for item in a.conflicts(("n",), "k")]
            assert sorted(kept) == ["green dog", "red cat"]
            for store in (a, b):
                assert [item.value["text"] for item in store.conflicts(("n",), "k")] == kept
                assert store.get(("n",), "k").value == {"text": kept[0]}  # type: ignore[union-attr]  # it is there
                assert round(nearest(store, kept[0]).score or 0, 3) == 1.0
                assert (nearest(store, kept[1]).score or 0) < 0.9
            a.put(("n",), "k", {"text": "both"})
            await a.store.flush(peers=1)
            for store in (a, b):
                assert store.conflicts(("n",), "k") == []
                assert [item.value for item in store.search(())] == [{"text": "both"}]

    run(scenario)


def test_an_edit_without_vectors_never_takes_those_of_a_concurrent_one() -> None:
    async def scenario() -> None:
        for order in range(2):
            async with apart() as (a, b):
                edits = [lambda a=a: a.put(("n",), "k", {"text": "red cat"})]
                edits.append(lambda b=b: b.put(("n",), "k", {"text": "secret"}, index=False))
                for edit in edits if order else reversed(edits):
                    edit()
                await meet(a, b)
                for store in (a, b):
                    found = nearest(store, "red cat")
                    is_embedded = found.value["text"] == "red cat"
                    assert (found.score is not None) is is_embedded
                assert is_embedded is (order == 0)

    run(scenario)


def test_a_put_that_did_not_know_of_a_removal_survives_it_whole() -> None:
    async def scenario() -> None:
        async with apart() as (a, b):
            a.put(("n",), "k", {"text": "old"}, ttl=5)
            a.put(("n",), "gone", {"text": "old"}, ttl=5)
            await meet(a, b)
            b.store.remove_peer(*address(a.store))
            a.store.remove_peer(*address(b.store))
            await until(lambda: not (a.store.linked() or b.store.linked()))
            a.delete(("n",), "k")
            a.delete(("n",), "gone")
            b.put(("n",), "k", {"text": "red cat"})
            assert b.get(("n",), "gone") is not None
            await meet(a, b)
            for store in (a, b):
                assert [item.value for item in store.search(())] == [{"text": "red cat"}]
                assert round(nearest(store, "red cat").score or 0, 3) == 1.0

    run(scenario)


def test_reading_elsewhere_does_not_bring_back_what_was_deleted_and_lets_live_what_was_not() -> None:
    async def scenario() -> None:
        clock = Clock()
        async with apart(now=clock, ttl={"omit_expired": True}) as (a, b):
            for key in ("deleted", "read", "unread"):
                a.put(("n",), key, {"text": key}, ttl=10)
            await meet(a, b)
            for one, other in ((a, b), (b, a)):
                one.store.remove_peer(*address(other.store))
            await until(lambda: not (a.store.linked() or b.store.linked()))
            clock.pass_minutes(8)
            a.delete(("n",), "deleted")
            assert b.get(("n",), "deleted") is not None
            clock.pass_minutes(1)
            assert b.get(("n",), "read") is not None
            clock.pass_minutes(-1)  # of two lifetimes the longer one counts, whichever was written last
            assert a.get(("n",), "read") is not None
            await meet(a, b)
            for store in (a, b):
                later, earlier = sorted(map(float, store.store.get_conflicts("lgs/x/n/read")), reverse=True)  # type: ignore[arg-type]  # wrong on purpose
                assert store.store.get("lgs/x/n/read") == earlier < later
            clock.pass_minutes(10.8)
            for store in (a, b):
                assert [item.key for item in store.search((), refresh_ttl=False)] == ["read"]
            assert a.sweep_ttl() == 1
            await a.store.flush(peers=1)
            assert [key for key in b.store.keys("lgs/") if not key.endswith("/read")] == []

    run(scenario)


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with opened(path=tmp_path, index=by_words(), now=clock) as store:
        store.put(("a b", "c"), "k", {"text": "red cat", "deep": [1, {"x": None}]}, ttl=100)
        store.put(("a",), "k", {"text": "green dog"})
        before = [item.dict() for item in store.search((), query="red cat")]
    embedder = Embedder()
    with opened(path=tmp_path, index=by_words(embedder), now=clock) as store:
        assert [item.dict() for item in store.search((), query="red cat")] == before
        assert store.list_namespaces() == [("a",), ("a b", "c")]
        clock.pass_minutes(200)
        assert store.sweep_ttl() == 1
    assert embedder.calls == [["red cat"]]


@contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", ACKNOWLEDGER, *map(str, arguments)]
    paths = {"PYTHONPATH": ":".join(path or "." for path in sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) as process:
        try:
            yield process
        finally:
            process.kill()


def test_every_acknowledged_put_survives_kill_9_with_its_vectors(tmp_path: Path) -> None:
    acknowledged = -1
    for life in range(2):
        with child(tmp_path, acknowledged + 1) as process:
            assert process.stdout is not None
            enough = acknowledged + 20 * (life + 1)
            while acknowledged < enough:
                acknowledged = int(process.stdout.readline())
            process.kill()
            acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
        with opened(path=tmp_path, index=by_words()) as store:
            found = {item.key: item for item in store.search((), query="cat", limit=100_000)}
            assert [number for number in range(acknowledged + 1) if str(number) not in found] == []
            assert {item.score is not None for item in found.values()} == {True}
            for number in (0, acknowledged):
                assert nearest(store, f"word{number} cat").key == str(number)
            assert len(store.store.keys("lgs/x/")) in (len(found) // 2, len(found) // 2 + 1)


def test_a_loop_and_a_thread_share_a_store_that_waits_for_its_disk(tmp_path: Path) -> None:
    """At another durability a write waits: async calls do it in a thread, sync ones outside the store's loop."""

    async def scenario() -> None:
        async with AgentStateStore("room", port=None, path=tmp_path, durability="group") as state:
            store = PropagulStore(state, index=by_words())
            await asyncio.gather(*(store.aput(("a",), str(number), {"text": "cat"}) for number in range(20)))
            await asyncio.to_thread(store.put, ("a",), "thread", {"text": "dog"}, ttl=5)
            with pytest.raises(LocalProtocolError, match="would stop the event loop"):
                store.put(("a",), "loop", {"text": "x"})
            assert len(await store.asearch((), limit=100)) == 21
            assert store.get(("a",), "loop") is None

    run(scenario)


def test_a_batch_waits_for_its_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = AgentStateStore("room", port=None, path=tmp_path, durability="group")
    store, syncs = PropagulStore(state), CountedSyncs(monkeypatch)
    puts = [PutOp(("a",), str(number), {"text": "cat"}, ttl=5) for number in range(10)]
    store.batch(puts)
    assert syncs.count == 1
    asyncio.run(store.abatch(puts))
    assert syncs.count == 2
    assert store.get(("a",), "1") is not None
    assert syncs.count == 2
    state.close()


def test_what_only_the_disk_holds_is_read_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with AgentStateStore("room", port=None, path=tmp_path, memory_bytes=1024 * 1024) as state:
            store = PropagulStore(state)
            for number in range(40):
                await store.aput(("a",), str(number), {"text": str(number) * 100_000})
            await asyncio.to_thread(state.compact)
            read, threads = state.get, []

            def noted(key: str, default: object = None) -> object:
                threads.append((key, threading.get_ident()))
                return read(key, default)

            monkeypatch.setattr(state, "get", noted)
            item = await store.aget(("a",), "0")
            assert item is not None
            assert item.value == {"text": "0" * 100_000}
            assert ("lgs/i/a/0", threading.get_ident()) not in threads
            assert "lgs/i/a/0" in dict(threads)
            await store.aput(("a",), "1", {"text": "short"})
            assert ("lgs/i/a/1", threading.get_ident()) not in threads

    run(scenario)
