"""A work queue: what one store promises, what two find out about each other, and what is settled the same way."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, LocalProtocolError
from propagul.room import Phase, Room, Word
from propagul.room._queue import GONE
from tests.room.world import GONE_S, room_of
from tests.store.world import FAST, ROOM, SECRET, address, loopback, on_island, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.room import Claim, Task, WorkQueue
    from tests.store.world import Island


@pytest.fixture
def room() -> Iterator[Room]:
    store = AgentStateStore("room", "me", port=None)
    with Room(store, "r", capabilities=["search"]) as room:
        yield room
    store.close()


def claimed(queue: WorkQueue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def task(queue: WorkQueue, name: str) -> Task:
    found = queue.get(name)
    assert found is not None
    return found


async def parted(island: Island) -> tuple[WorkQueue, WorkQueue, str]:
    """A queue at two machines that do not hear each other any more, and the task that was put into it before."""
    here, there = [room_of(store).queue("q") for store in (await island.start("a"), await island.start("b", "a"))]
    name = here.put("work")
    await island.clock.advance(1)
    island.network.cut("a", "b")
    return here, there, name


async def rejoined(island: Island) -> None:
    island.network.heal("a", "b")
    await island.clock.advance(20)


# Within one store.


def test_a_task_goes_from_open_to_claimed_to_done(room: Room) -> None:
    queue = room.queue("q")
    name = queue.put({"topic": "gossip"})
    assert [t.word.phase for t in queue.tasks()] == [Phase.OPEN]
    claim = claimed(queue)
    assert (claim.id, claim.payload, claim.attempt, claim.is_lost) == (name, {"topic": "gossip"}, 1, False)
    assert task(queue, name).word.agent == "me"
    assert queue.claim() is None
    assert claim.complete({"found": 12})
    assert (list(queue.tasks()), [t.word.result for t in queue.done()]) == ([], [{"found": 12}])
    assert claim.is_lost
    assert not claim.complete("again")
    assert not claim.fail()
    assert not claim.release()
    assert task(queue, name).word.result == {"found": 12}
    assert queue.claim() is None


def test_what_is_done_leaves_its_result_and_nothing_else(room: Room) -> None:
    queue = room.queue("q")
    name = queue.put("x" * 1000)
    claimed(queue).complete("short")
    assert room.store.keys("rooms/r/work/") == [f"rooms/r/work/q/state/{name}"]
    assert queue.forget(name)
    assert not queue.forget(name)
    assert room.store.keys("rooms/r/work/") == []


def test_who_looked_before_another_claimed_does_not_claim_it_too(room: Room) -> None:
    queue = room.queue("q")
    queue.put("work")
    seen = next(queue.tasks())
    first = claimed(queue)
    assert queue._claim(seen) is None
    assert not first.is_lost
    first.complete()
    assert queue._claim(seen) is None
    queue.forget(first.id)
    assert queue._claim(seen) is None


def test_tasks_are_claimed_about_in_order_and_none_twice(room: Room) -> None:
    queue, other = room.queue("q"), room.queue("other")
    for number in range(40):
        queue.put(number)
    taken = [claimed(queue).payload for _ in range(40)]
    assert sorted(map(int, map(str, taken))) == list(range(40))
    assert all(abs(place - int(str(number))) <= 40 for place, number in enumerate(taken[:20]))
    assert max(int(str(number)) for number in taken[:5]) < 25  # the oldest come first, if not in their order
    assert queue.claim() is None
    assert other.claim() is None


def test_threads_of_one_store_never_claim_one_task_twice(room: Room) -> None:
    queue = room.queue("q")
    for number in range(60):
        queue.put(number)
    done: list[object] = []

    def work() -> None:
        while (claim := queue.claim()) is not None:
            done.append(claim.payload)
            assert claim.complete()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done, key=str) == sorted(range(60), key=str)


def test_a_task_that_needs_something_waits_for_who_can_do_it(room: Room) -> None:
    queue = room.queue("q")
    queue.put("paint", needs=["paint"])
    queue.put("find", needs=["search"])
    assert claimed(queue).payload == "find"
    assert queue.claim() is None
    with Room(room.store, "r", agent="painter", capabilities=["paint", "search"]) as painter:
        assert claimed(painter.queue("q")).payload == "paint"


def test_a_task_with_a_name_is_put_once_also_after_it_was_done(room: Room) -> None:
    queue = room.queue("q")
    assert queue.put(1, task_id="t") == queue.put(2, task_id="t") == "t"
    assert claimed(queue).payload == 1
    queue.put(3, task_id="t")
    assert queue.claim() is None
    assert not queue.forget("t")
    assert queue.say("t", Word(phase=Phase.DONE), ends=True)
    queue.put(4, task_id="t")
    assert queue.claim() is None
    assert room.store.keys("rooms/r/work/") == ["rooms/r/work/q/state/t"]
    assert queue.forget("t")
    assert queue.get("t") is None
    queue.put(5, task_id="t")
    assert claimed(queue).payload == 5


def test_what_failed_is_tried_again_as_often_as_it_may(room: Room) -> None:
    queue = room.queue("q", attempts_max=2)
    name = queue.put("hard")
    assert claimed(queue).fail("timeout")
    assert (task(queue, name).word.phase, task(queue, name).word.result) == (Phase.OPEN, "timeout")
    assert claimed(queue).attempt == 2
    assert queue.claim() is None
    room.leave()  # gives it back: that was no attempt
    room.enter()
    last = claimed(queue)
    assert (last.attempt, last.fail("again")) == (2, True)
    assert (task(queue, name).word.phase, queue.claim()) == (Phase.FAILED, None)
    assert queue.retry(name)
    assert not queue.retry(name)
    assert claimed(queue).attempt == 1


def test_a_block_ends_a_claim(room: Room) -> None:
    queue = room.queue("q", attempts_max=1)
    queue.put("ends")
    with claimed(queue) as claim:
        assert not claim.is_lost
    assert (queue.word(claim.id).phase, queue.word(claim.id).result) == (Phase.DONE, None)
    name = queue.put("fails")
    with pytest.raises(KeyError), claimed(queue):
        raise KeyError("a secret")
    assert (queue.word(name).phase, queue.word(name).result) == (Phase.FAILED, "KeyError")
    queue.put("completes")
    with claimed(queue) as claim:
        assert claim.complete("result")
    assert queue.word(claim.id).result == "result"
    queue.put("releases")
    with claimed(queue) as claim:
        assert claim.release()
    assert queue.word(claim.id).phase is Phase.OPEN


def test_who_is_not_in_the_room_claims_nothing(room: Room) -> None:
    outside = Room(room.store, "r", agent="outside")
    outside.queue("q").put(1)
    with pytest.raises(LocalProtocolError, match="'outside' is not in the room 'r'"):
        outside.queue("q").claim()


def test_waiting_for_work_ends_when_there_is_some_or_the_time_is_up(room: Room) -> None:
    queue = room.queue("q")
    assert queue.claim(wait_s=0.01) is None
    timer = threading.Timer(0.05, queue.put, ["late"])
    timer.start()
    claim = queue.claim(wait_s=20)
    assert claim is not None
    assert claim.payload == "late"
    timer.join()


def test_in_an_event_loop_work_comes_one_after_the_other(room: Room) -> None:
    async def scenario() -> None:
        queue = room.queue("q")
        assert await queue.next(wait_s=0.01) is None
        found: list[object] = []
        asyncio.get_running_loop().call_later(0.05, queue.put, 3)
        queue.put(1)
        async for claim in queue:
            found.append(claim.payload)
            claim.complete()
            if len(found) == 2:
                break
        assert found == [1, 3]

    run(scenario)


def test_what_is_no_word_in_a_row_leaves_the_task_open(room: Room) -> None:
    queue = room.queue("q")
    name = queue.put(1)
    room.store.set(f"rooms/r/work/q/state/{name}", "from another program")
    assert claimed(queue).complete("done")
    assert task(queue, name).word.phase is Phase.DONE


# Between stores.


@pytest.mark.parametrize("verify", ["member", "origin"])
def test_a_task_put_on_one_machine_is_done_on_another_over_real_links_and_can_be_put_again(verify: str) -> None:
    def member(name: str) -> AgentStateStore:
        return AgentStateStore(ROOM, name, 0, "127.0.0.1", secret=SECRET, config=FAST, verify=verify)

    async def scenario() -> None:
        async with member("a") as a, member("b") as b:
            b.add_peer(*address(a))
            await until(b.linked)
            with Room(a, "r") as here, Room(b, "r") as there:
                queue = here.queue("q")
                queue.put("work", task_id="t")
                claim = await there.queue("q").next(wait_s=20)
                assert claim is not None
                assert claim.payload == "work"
                await until(lambda: queue.word("t").agent == "b")
                assert queue.claim() is None
                assert claim.complete("result")
                await until(lambda: [t.word.result for t in queue.done()] == ["result"])
                assert (list(queue.tasks()), a.keys()) == ([], ["rooms/r/work/q/state/t"])
                assert queue.forget("t")
                await until(lambda: there.queue("q").get("t") is None)
                queue.put("again", task_id="t")
                again = await there.queue("q").next(wait_s=20)
                assert again is not None
                assert (again.payload, again.attempt) == ("again", 1)

    run(scenario)


def test_a_claim_on_both_sides_of_a_cut_is_seen_and_settled_alike() -> None:
    async def scenario(island: Island) -> None:
        here, there, name = await parted(island)
        first = claimed(here)
        await island.clock.advance(1)
        second = claimed(there)
        assert not first.is_lost
        assert not second.is_lost
        await rejoined(island)
        assert (first.is_lost, second.is_lost) == (False, True)
        for queue in (here, there):
            (contested,) = queue.contested()
            assert contested.contested
            assert (contested.word.agent, [rival.agent for rival in contested.rivals]) == ("a", ["b"])
            assert queue.claim() is None
        assert not second.fail()
        assert not second.release()
        assert first.complete("a's")
        await island.clock.advance(1)
        assert not second.complete("b's")
        assert [queue.word(name).result for queue in (here, there)] == ["a's", "a's"]
        assert (here.contested(), there.contested()) == ([], [])

    on_island(scenario)


def test_what_both_sides_of_a_cut_finish_is_finished_by_one_and_never_comes_back() -> None:
    async def scenario(island: Island) -> None:
        here, there, name = await parted(island)
        second = claimed(there)
        await island.clock.advance(1)
        assert claimed(here).complete("a's")
        await island.clock.advance(1)
        assert second.complete("b's")
        await rejoined(island)
        for queue in (here, there):
            assert queue.word(name).result == "a's"
            assert [rival.result for rival in queue.contested()[0].rivals] == ["b's"]
            assert list(queue.tasks()) == []
            assert queue.claim() is None
        assert there.settle(name)
        assert not there.settle(name)
        await island.clock.advance(1)
        assert here.contested() == []
        assert here.word(name).result == "a's"

    on_island(scenario)


def test_done_on_one_side_counts_over_a_claim_on_the_other() -> None:
    async def scenario(island: Island) -> None:
        here, there, name = await parted(island)
        assert claimed(here).complete("a's")
        await island.clock.advance(1)
        late = claimed(there)  # later, so it is what `get` shows
        await rejoined(island)
        assert late.is_lost
        assert [queue.word(name).result for queue in (here, there)] == ["a's", "a's"]
        assert not late.fail("too late")
        await island.clock.advance(1)
        assert here.word(name).phase is Phase.DONE

    on_island(scenario)


def test_in_an_event_loop_a_claim_needs_no_time_where_it_waits_for_nothing() -> None:
    async def scenario(island: Island) -> None:
        queue = room_of(await island.start("a")).queue("q")
        queue.put("work")
        claim = await queue.next()  # the clock stands still
        assert claim is not None
        waiting = asyncio.create_task(queue.next(wait_s=3))
        await island.clock.advance(2)
        assert not waiting.done()
        await island.clock.advance(2)
        assert await waiting is None

    on_island(scenario)


def test_the_claim_of_an_agent_that_is_gone_is_taken_over_and_not_before() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        here, there = room_of(a).queue("q"), room_of(b).queue("q")
        name = here.put("work")
        lost = claimed(here)
        await island.clock.advance(100)
        assert there.claim() is None  # its owner takes its time, and is there
        island.network.cut("a", "b")
        cut_at = island.clock.monotonic()
        for _ in range(int(GONE_S)):
            await island.clock.advance(1)
            if (taken := there.claim()) is not None:
                break
        assert taken is not None
        assert island.clock.monotonic() - cut_at >= a._config.presence_ttl_s + 5  # it might have come back
        assert taken.attempt == 2
        await rejoined(island)
        assert lost.is_lost
        assert not taken.is_lost
        assert lost.complete("the work is done, whoever did it")
        await island.clock.advance(1)
        assert not taken.complete("second")
        assert there.word(name).agent == "a"

    on_island(scenario)


def test_a_task_that_kills_whoever_touches_it_fails_in_the_end() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        room_of(a).queue("q", attempts_max=1).put("poison", task_id="t")
        there = room_of(b).queue("q", attempts_max=1)
        here = room_of(a, agent="victim").queue("q", attempts_max=1)
        claimed(here)
        await island.clock.advance(1)
        island.network.cut("a", "b")
        for _ in range(int(GONE_S)):
            await island.clock.advance(1)
            assert there.claim() is None
        assert (there.word("t").phase, there.word("t").result) == (Phase.FAILED, GONE)

    on_island(scenario)


def test_a_clean_goodbye_gives_back_what_was_claimed_at_once() -> None:
    async def scenario(island: Island) -> None:
        a, b = await island.start("a"), await island.start("b", "a")
        room, there = room_of(a), room_of(b).queue("q")
        room.queue("q").put("work")
        claimed(room.queue("q"))
        room.leave()
        await island.clock.advance(1)
        assert claimed(there).attempt == 1

    on_island(scenario)


def test_who_hears_nobody_takes_nothing_over() -> None:
    """A leaf gets no presence, and a store that is not started neither: absence says nothing there."""

    async def scenario(island: Island) -> None:
        hub = await island.start("hub")
        leaf = island.make("leaf", leaf=True)
        await leaf.start(peers=[("hub", 9000)])
        here, there = room_of(hub).queue("q"), room_of(leaf).queue("q")
        here.put("work")
        claimed(here)
        for _ in range(int(GONE_S)):
            await island.clock.advance(1)
            assert there.claim() is None
        alone = island.make("alone")
        word = here.word(next(iter(here.tasks())).id)
        assert not room_of(alone).is_gone(word)

    on_island(scenario)


def test_a_claim_that_waits_a_moment_is_handed_out_to_one_of_two() -> None:
    async def scenario() -> None:
        async with loopback("a") as a, loopback("b") as b:
            b.add_peer(*address(a))
            await until(b.linked)
            with Room(a, "r") as here, Room(b, "r") as there:
                queues = [room.queue("q", settle_s=0.5) for room in (here, there)]
                for number in range(5):
                    name = queues[0].put(number)
                    await until(functools.partial(queues[1].get, name))
                    claims = await asyncio.gather(*(queue.next(wait_s=0.0) for queue in queues))
                    assert [claim for claim in claims if claim is not None] != []
                    assert len([claim for claim in claims if claim is not None]) == 1
                    next(claim for claim in claims if claim is not None).complete()
                    await until(lambda: not list(queues[0].tasks()) and not list(queues[1].tasks()))

    run(scenario)
