"""A transaction is there whole or not at all: for readers, for other stores, and after a crash."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, ClosedError, LimitExceeded, StoreFull
from tests.store.test_crash import child, line_of
from tests.store.world import address, loopback, on_island, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.store.world import Island

WRITER = """
import sys
from propagul import AgentStateStore
store = AgentStateStore("room", port=None, path=sys.argv[1])
number = store.get("a", -1) + 1
while True:
    with store.transaction():
        store.set("a", number)
        store.set("b", number)
        store.counter("c").add(1)
        store.log_of("l").append(number)
    print(number, flush=True)
    number += 1
"""


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    with_nothing = AgentStateStore("room", port=None)
    yield with_nothing
    with_nothing.close()


def test_nothing_is_visible_before_the_end_and_everything_after(store: AgentStateStore) -> None:
    store.set("old", 1)
    seen: list[object] = []

    def look() -> None:
        seen.append((store.get_all(), store.counter("c").value))

    with store.transaction():
        store.set("a", 1)
        store.delete("old")
        store.counter("c").add(2)
        other = threading.Thread(target=look)
        other.start()
        other.join()
    look()
    assert seen == [({"old": 1}, 0), ({"a": 1}, 2)]


def test_its_own_reads_see_what_it_wrote(store: AgentStateStore) -> None:
    store.set("old", 1)
    with store.transaction():
        store.set("a", {"n": 1})
        assert store.get("a") == {"n": 1}
        assert "a" in store
        assert store.get_all() == {"a": {"n": 1}, "old": 1}
        assert store.delete("old")
        assert not store.delete("old")
        assert "old" not in store
        assert len(store) == 1
        store.counter("c").add(2)
        store.counter("c").add(3)
        assert store.counter("c").value == 5
        store.set_of("s").add("x")
        assert "x" in store.set_of("s")
        store.map_of("m")["p", "q"] = 1
        assert store.map_of("m").to_dict() == {"p": {"q": 1}}
    assert store.counter("c").value == 5


def test_an_exception_drops_all_of_it(store: AgentStateStore) -> None:
    def change_my_mind() -> None:
        with store.transaction():
            store.set("a", 1)
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()
    assert len(store) == 0
    assert store.stats.local_writes == 0


def test_one_inside_another_is_part_of_it(store: AgentStateStore) -> None:
    def change_my_mind() -> None:
        with store.transaction():
            with store.transaction():
                store.set("inner", 1)
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()
    assert "inner" not in store


def test_it_belongs_to_its_task(store: AgentStateStore) -> None:
    async def scenario() -> None:
        inside = asyncio.Event()
        written = asyncio.Event()

        async def one() -> None:
            with store.transaction():
                store.set("one", 1)
                inside.set()
                await written.wait()
                assert store.get("two") == 2

        async def two() -> None:
            await inside.wait()
            assert "one" not in store
            store.set("two", 2)
            written.set()

        await asyncio.gather(one(), two())

    asyncio.run(scenario())
    assert store.get_all() == {"one": 1, "two": 2}


def test_what_was_decided_inside_still_holds_at_the_end(store: AgentStateStore) -> None:
    """Another thread counts between the addition and the end of the transaction."""
    with store.transaction():
        store.counter("c").add(1)
        other = threading.Thread(target=lambda: store.counter("c").add(10))
        other.start()
        other.join()
    assert store.counter("c").value == 11


def test_it_supersedes_what_was_there_at_its_end(store: AgentStateStore) -> None:
    with store.transaction():
        store.set("k", "transaction")
        other = threading.Thread(target=store.set, args=("k", "other"))
        other.start()
        other.join()
    assert store.get("k") == "transaction"
    assert store.get_conflicts("k") == []


def test_over_sixteen_mebibytes_it_is_refused_and_the_rest_of_it_stands(store: AgentStateStore) -> None:
    with store.transaction():
        for number in range(15):
            store.set(f"k{number}", bytes(1024 * 1024))
        with pytest.raises(LimitExceeded, match="a transaction has"):
            store.set("extra", bytes(1024 * 1024))
        assert "extra" not in store
    assert len(store) == 15


def test_a_log_that_refuses_leaves_no_trace(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    store.set("old", 1)
    assert store._disk is not None
    journal = store._disk.journal

    def refuse(_: bytes) -> int:
        raise StoreFull("no space left")

    append, journal.append = journal.append, refuse  # type: ignore[method-assign,assignment]

    def write_both() -> None:
        with store.transaction():
            store.set("a", 1)
            store.set("b", 1)

    with pytest.raises(StoreFull):
        write_both()
    journal.append = append  # type: ignore[method-assign]
    assert store.get_all() == {"old": 1}
    store.close()
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get_all() == {"old": 1}
    again.close()


def test_a_closed_store_refuses_it() -> None:
    store = AgentStateStore("room", port=None)
    store.close()
    with pytest.raises(ClosedError), store.transaction():
        pass


def test_concurrent_ones_rank_the_same_way_in_every_key() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b")
        for number in range(20):
            keys = [f"x{number}", f"y{number}", f"z{number}"]
            for store, order in ((a, keys), (b, keys[::-1])):
                with store.transaction():
                    for key in order:
                        store.set(key, store.label)
        a.add_peer("b", 9000)
        await island.clock.advance(5)
        for store in (a, b):
            for number in range(20):
                assert len({store.get(f"{name}{number}") for name in "xyz"}) == 1
                assert len(store.get_conflicts(f"x{number}")) == 2
        assert a.get_all() == b.get_all()

    on_island(scenario)


def test_another_store_never_shows_half_of_one() -> None:
    async def scenario() -> None:
        torn: list[object] = []
        async with loopback("a") as a, loopback("b") as b:
            a.add_peer(*address(b))
            await until(a.linked)

            def look(*_: object) -> None:
                one, two = b.get("one"), b.get("two")
                if one != two:
                    torn.append((one, two))

            b.on_change(look)
            for number in range(300):
                with a.transaction():
                    a.set("one", number)
                    a.set("two", number)
                if number % 10 == 0:
                    await asyncio.sleep(0)
            await until(lambda: b.get("two") == 299)
            assert torn == []

    run(scenario)


def test_after_a_kill_it_is_whole_or_not_there(tmp_path: Path) -> None:
    for _ in range(5):
        with child(WRITER, tmp_path) as process:
            acknowledged = [int(line_of(process)[0]) for _ in range(30)][-1]
            process.kill()
        store = AgentStateStore("room", port=None, path=tmp_path)
        assert store.get("a") == store.get("b")
        last = store.get("a")
        assert isinstance(last, int)
        assert last >= acknowledged
        assert store.counter("c").value == last + 1
        assert [entry.value for entry in store.log_of("l")] == list(range(last + 1))
        store.close()
