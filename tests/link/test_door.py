"""Whoever knocks is let in, and belongs to somebody from the first instant on, whenever the loop ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from propagul.errors import LinkError
from propagul.link import Address, Purpose, door
from propagul.link.door import Door, sockets_at
from tests.link.world import LOOPBACK, echo, listening, member, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul.link import Link


def knock(address: Address, times: int = 1) -> list[socket.socket]:
    """Connections that the system has made, and nobody has accepted yet."""
    return [socket.create_connection(address) for _ in range(times)]


def leave(knocking: list[socket.socket]) -> None:
    for connection in knocking:
        connection.close()


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "not closed"])
def test_a_loop_that_ends_while_some_come_in_leaves_no_connection(steps: int, *, closed: bool) -> None:
    """Nothing may be left for the collector, which would complain of it: warnings are errors."""
    knocking: list[socket.socket] = []

    async def scenario() -> None:
        listener = await member().listen(LOOPBACK, {Purpose.GOSSIP: echo})
        knocking.extend(knock(listener.address, 5))
        for _ in range(steps):
            await asyncio.sleep(0)
        if closed:
            await listener.aclose()

    asyncio.run(scenario())
    gc.collect()
    leave(knocking)


def test_who_comes_and_is_gone_before_anybody_looked_disturbs_nobody() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            gone = socket.socket()
            gone.close()
            listener._enter(gone, ("127.0.0.1", 1))  # type: ignore[attr-defined] # as where options cannot be set
            await until(lambda: theirs.half_open == 0)
            await (await ours.dial(listener.address, Purpose.GOSSIP)).aclose()

    run(scenario)


@pytest.mark.parametrize("begun", [False, True])
def test_a_listener_that_is_cancelled_while_it_opens_leaves_no_port(*, begun: bool) -> None:
    """Before its sockets are made, and when the task that holds them has just been."""

    async def scenario() -> None:
        opening = asyncio.ensure_future(member().listen(LOOPBACK, {}))
        async with asyncio.timeout(20):
            while not any(task.get_name().startswith("propagul listener") for task in asyncio.all_tasks()) and begun:
                await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    run(scenario)
    gc.collect()


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[list[int]]:
    """Every descriptor that this process may have is taken; close one of these and there is one."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limit[0]), limit[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield taken
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for descriptor in taken:
            os.close(descriptor)


def test_without_a_descriptor_who_knocks_waits_and_is_let_in_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "_PAUSE_S", 0.01)

    async def scenario() -> None:
        entered: list[socket.socket] = []
        entrance = await opened(lambda connection, _: entered.append(connection))
        with no_descriptor_left() as taken:
            os.close(taken.pop())
            knocking = knock(entrance.address)
            await until(lambda: "not_accepted" in caplog.text)
            assert entered == []
            os.close(taken.pop())
            await until(lambda: len(entered) == 1)
        entrance.door.close()
        leave([*entered, *knocking])

    run(scenario)


class Entrance:
    def __init__(self, sockets: list[socket.socket], enter: Callable[[socket.socket, object], None]) -> None:
        self.address = Address(*sockets[0].getsockname()[:2])
        self.door = Door(sockets, enter)
        self.door.open()


async def opened(enter: Callable[[socket.socket, object], None]) -> Entrance:
    return Entrance(await sockets_at(LOOPBACK), enter)


def test_a_closed_door_lets_nobody_in_and_its_port_is_free_again() -> None:
    async def scenario() -> None:
        entrance = await opened(lambda connection, _: connection.close())
        entrance.door.close()
        entrance.door.close()
        with pytest.raises(ConnectionRefusedError):
            knock(entrance.address)
        for again in await sockets_at(entrance.address):
            again.close()

    run(scenario)


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that does not tell when a socket can be read, like the one of Windows."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError


def test_a_loop_without_readers_lets_in_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "_PAUSE_S", 0.01)

    async def scenario() -> None:
        links: list[Link] = []

        async def keep(link: Link) -> None:
            links.append(link)
            await echo(link)

        async with listening(member(), {Purpose.GOSSIP: keep}) as listener:
            dialled = [await member().dial(listener.address, Purpose.GOSSIP) for _ in range(3)]
            await until(lambda: len(links) == 3)
            knocking = []
            with no_descriptor_left() as taken:
                os.close(taken.pop())
                knocking = knock(listener.address)
                await until(lambda: "not_accepted" in caplog.text)
            for link in dialled:
                await link.aclose()
            leave(knocking)
            dialled = [await member().dial(listener.address, Purpose.GOSSIP)]
            await dialled[0].aclose()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        runner.run(scenario())
    gc.collect()


def test_a_host_that_means_several_addresses_is_listened_at_on_all_of_them() -> None:
    async def scenario() -> None:
        sockets = await sockets_at(Address("", 0))
        families = {one.family for one in sockets}
        leave(sockets)
        assert families == {socket.AF_INET, socket.AF_INET6} if socket.has_dualstack_ipv6() else {socket.AF_INET}

    run(scenario)


@pytest.mark.parametrize("host", ["x" * 300, "..", "no-such-host.invalid"])
def test_a_host_that_there_is_not_is_said_so(host: str) -> None:
    async def scenario() -> None:
        with pytest.raises(LinkError, match=host[:80]):
            await member().listen(Address(host, 0), {Purpose.GOSSIP: echo})

    run(scenario)
