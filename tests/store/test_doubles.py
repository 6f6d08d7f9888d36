"""The doubles of `propagul.testing` behave as their documentation says."""

from __future__ import annotations

import asyncio
import textwrap
from typing import TYPE_CHECKING

import pytest

import propagul.testing
from propagul.errors import ClosedError, IdentityError, LinkError, LocalProtocolError
from propagul.link import FRAME_BYTES_MAX, Address, NodeId, Purpose
from propagul.store import SystemClock
from propagul.testing import MemoryNetwork, VirtualClock
from tests.store.world import Island, on_island, run

if TYPE_CHECKING:
    from propagul.link import Link

PORT = 9000


async def linked(network: MemoryNetwork) -> tuple[Link, Link, asyncio.Event]:
    """Both ends of a link from `a` to `b`, and what lets the accepting handler return."""
    accepted: asyncio.Queue[Link] = asyncio.Queue()
    done = asyncio.Event()

    async def accept(link: Link) -> None:
        await accepted.put(link)
        await done.wait()

    listener = await network.transport("b").listen(Address("127.0.0.1", PORT), {Purpose.GOSSIP: accept})
    dialled = await network.transport("a").dial(Address("b", PORT), Purpose.GOSSIP)
    arrived = await accepted.get()
    await listener.aclose()
    return dialled, arrived, done


async def silent(link: Link) -> None:
    await link.aclose()


def test_the_documented_example_runs_as_it_stands() -> None:
    assert propagul.testing.__doc__ is not None
    code = textwrap.dedent(propagul.testing.__doc__.split("no waiting:\n", 1)[1].split("\n\nA network can", 1)[0])
    room: dict[str, object] = {}
    exec(compile(code, "the example", "exec"), room)
    run(room["test_a_worker_catches_up_after_a_partition"])  # type: ignore[arg-type]


def test_waiters_wake_in_the_order_of_their_deadlines() -> None:
    async def scenario() -> None:
        clock, woken = VirtualClock(), list[tuple[str, float]]()

        async def sleeper(name: str, seconds: float) -> None:
            assert not await clock.wait(asyncio.Event(), seconds)
            woken.append((name, clock.monotonic()))

        async with asyncio.TaskGroup() as group:
            for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)):
                group.create_task(sleeper(name, seconds))
            wall = clock.time_ns()
            await clock.advance(2.5)
            assert woken == [("a", 1.0), ("a2", 1.0), ("b", 2.0)]
            assert (clock.monotonic(), clock.time_ns() - wall) == (2.5, 2_500_000_000)
            await clock.advance(0.5)
        assert woken[-1] == ("c", 3.0)

    run(scenario)


def test_an_event_wakes_its_waiter_without_time() -> None:
    async def scenario() -> None:
        clock, event = VirtualClock(), asyncio.Event()
        waiting = asyncio.create_task(clock.wait(event, 100))
        await clock.settle()
        event.set()
        assert await waiting
        assert clock.monotonic() == 0
        assert clock._waiting == []

    run(scenario)


def test_a_cancelled_waiter_is_cancelled() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        waiting = asyncio.create_task(clock.wait(asyncio.Event(), 1))
        await clock.settle()
        waiting.cancel()
        await clock.advance(2)
        assert waiting.cancelled()

    run(scenario)


def test_frames_arrive_in_order_after_their_delay() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        network = MemoryNetwork(clock)
        a, b, done = await linked(network)
        network.delay("a", "b", 2.0)
        await a.send(b"slow")
        network.delay("a", "b", 0.0)
        await a.send(b"sent later, with no delay")
        receiving = asyncio.create_task(b.receive())
        await clock.advance(1.9)
        assert not receiving.done()
        await clock.advance(0.2)
        assert await receiving == b"slow"
        assert await b.receive() == b"sent later, with no delay"
        done.set()

    run(scenario)


def test_a_link_knows_both_its_ends() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(VirtualClock())
        a, b, done = await linked(network)
        assert (a.dialed, b.dialed) == (True, False)
        assert (a.peer, b.peer) == (network.transport("b").node, network.transport("a").node)
        assert a.remote == Address("b", PORT)
        assert b.remote.host == "a"
        again, _, more = await linked(network)
        assert len({b"", a.instance, b.instance, again.instance}) == 4, "each transport of a host is another run of it"
        done.set()
        more.set()

    run(scenario)


def test_closing_delivers_what_is_under_way_and_breaking_loses_it() -> None:
    async def scenario() -> None:
        for ending, arrives in (("aclose", True), ("break", False)):
            network = MemoryNetwork(VirtualClock())
            a, b, done = await linked(network)
            await a.send(b"last words")
            if ending == "aclose":
                await a.aclose()
            else:
                assert network.break_links("a", "b") == 1
            if arrives:
                assert await b.receive() == b"last words"
            for end in (a, b):
                with pytest.raises(ClosedError):
                    await end.receive()
                with pytest.raises(ClosedError):
                    await end.send(b"too late")
            done.set()

    run(scenario)


def test_a_clogged_way_holds_what_is_sent_on_it_and_nothing_else() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        network = MemoryNetwork(clock)
        a, b, done = await linked(network)
        network.clog("a", "b")
        await a.send(b"one way")
        await b.send(b"the other")
        assert await a.receive() == b"the other"
        receiving = asyncio.create_task(b.receive())
        await clock.advance(600)
        assert not receiving.done()
        for here, there in ("ab", "ba"):
            listener = await network.transport(there).listen(Address(there, PORT), {Purpose.GOSSIP: silent})
            with pytest.raises(LinkError, match="nobody answers"):
                await network.transport(here).dial(Address(there, PORT), Purpose.GOSSIP)
            await listener.aclose()
        network.unclog("a", "b")
        assert await receiving == b"one way"
        a.abort()
        done.set()

    run(scenario)


@pytest.mark.parametrize("ending", ["abort", "aclose"])
def test_over_a_clogged_way_nobody_hears_that_the_other_end_gave_up(ending: str) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        network = MemoryNetwork(clock)
        a, b, done = await linked(network)
        network.clog("a", "b")
        network.clog("b", "a")
        receiving = asyncio.create_task(b.receive())
        if ending == "aclose":
            await a.aclose()
        else:
            a.abort()
        with pytest.raises(ClosedError):
            await a.receive()
        await clock.advance(600)
        await b.send(b"still there?")
        assert not receiving.done()
        network.unclog("b", "a")
        await clock.settle()
        assert not receiving.done()
        network.unclog("a", "b")
        with pytest.raises(ClosedError):
            await receiving
        done.set()

    run(scenario)


def test_lost_frames_come_late_and_in_order_or_the_link_breaks() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        network = MemoryNetwork(clock, seed=3)
        a, b, done = await linked(network)
        network.lose("a", "b", 0.3)
        arrived = list[tuple[float, bytes]]()

        async def receive_all() -> None:
            while len(arrived) < 100:
                frame = await b.receive()
                arrived.append((clock.monotonic(), frame))

        receiving = asyncio.create_task(receive_all())
        for number in range(100):
            await a.send(b"%d" % number)
            await clock.advance(5)
        await clock.advance(60)
        await receiving
        assert [frame for _, frame in arrived] == [b"%d" % number for number in range(100)]
        late_s = {round(at - 5.0 * number, 3) for number, (at, _) in enumerate(arrived)}
        assert {0.0, 0.2, 0.6} <= late_s <= {0.0, 0.2, 0.6, 1.4, 3.0, 6.2}
        network.lose("a", "b", 1.0)
        with pytest.raises(ClosedError):
            await a.send(b"never")
        with pytest.raises(ClosedError):
            await b.receive()
        done.set()

    run(scenario)


def test_a_sender_far_ahead_waits_for_its_reader() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        a, b, done = await linked(MemoryNetwork(clock))

        async def send_all() -> None:
            for number in range(100):
                await a.send(b"%d" % number)

        sending = asyncio.create_task(send_all())
        await clock.settle()
        assert not sending.done()
        assert [await b.receive() for _ in range(100)] == [b"%d" % number for number in range(100)]
        await sending
        with pytest.raises(LocalProtocolError):
            await a.send(bytes(FRAME_BYTES_MAX + 1))
        done.set()

    run(scenario)


def test_dials_fail_the_way_real_ones_do() -> None:
    async def scenario() -> None:
        network = MemoryNetwork(VirtualClock())
        a, b, done = await linked(network)
        transport = network.transport("a")
        with pytest.raises(LinkError, match="nobody answers at b:9000"):
            await transport.dial(Address("b", PORT), Purpose.GOSSIP)
        with pytest.raises(LinkError, match="this node itself"):
            await transport.dial(Address("a", PORT), Purpose.GOSSIP)

        async def accept(link: Link) -> None:
            await link.aclose()

        listener = await network.transport("b").listen(Address("b", 0), {Purpose.GOSSIP: accept})
        with pytest.raises(LinkError, match="port 9000 on b is taken"):
            await network.transport("b").listen(Address("b", PORT), {})
        with pytest.raises(LinkError, match="serves no links for tunnel"):
            await transport.dial(listener.address, Purpose.TUNNEL)
        with pytest.raises(IdentityError, match="expected was"):
            await transport.dial(listener.address, Purpose.GOSSIP, expect=NodeId("somebody else"))
        network.cut("a", "b")
        with pytest.raises(LinkError, match="nobody answers"):
            await transport.dial(listener.address, Purpose.GOSSIP)
        network.heal("a", "b")
        await (await transport.dial(listener.address, Purpose.GOSSIP)).aclose()
        assert transport.refusals() == []
        await listener.aclose()
        a.abort()
        b.abort()
        done.set()

    run(scenario)


def test_stores_converge_though_the_network_delays_and_breaks() -> None:
    async def scenario(island: Island) -> None:
        stores = [await island.start("a")]
        stores += [await island.start(name, "a") for name in "bcd"]
        island.network.delay("a", "b", 0.3)
        island.network.delay("c", "d", 1.0)
        for number in range(60):
            stores[number % 4].set(f"k{number % 7}", number)
            if number % 10 == 0:
                island.network.break_links("a", "bcd"[number // 10 % 3])
            await island.clock.advance(0.25)
        await island.clock.advance(20)
        for store in stores:
            assert store.get_all() == stores[0].get_all()
            assert len(store) == 7

    on_island(scenario)


def test_the_same_scenario_takes_the_same_course_every_time() -> None:
    courses = []

    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        for number in range(10):
            (a, b)[number % 2].set("k", number)
            await island.clock.advance(0.01)
        courses.append((a.stats.frames_in, b.stats.frames_in, a.stats.remote_rows, b.stats.remote_rows))

    on_island(scenario)
    on_island(scenario)
    assert courses[0] == courses[1]


def test_the_machines_clock_never_swallows_a_cancellation() -> None:
    """Not even where the event is set at the same time, as when a store is stopped while its links are busy."""

    async def scenario() -> None:
        for turns in range(6):
            event = asyncio.Event()
            waiting = asyncio.create_task(SystemClock().wait(event, 10))
            await asyncio.sleep(0.001)
            event.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled() or was_done

    run(scenario)
