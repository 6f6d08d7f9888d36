"""The event stream on real sockets: full state at once, no queue for the slow, a bound, and an end."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from fleet_app.dashboard import Dashboard
from fleet_app.dashboard.frames import Frames
from fleet_app.dashboard.history import History
from fleet_app.dashboard.stream import STREAMS_MAX, EventStreams
from fleet_app.view import FleetView
from tests.dashboard.harness import two_nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@asynccontextmanager
async def listening(routes: list[web.AbstractRouteDef]) -> AsyncIterator[int]:
    """Serve routes on a loopback port; the shutdown must take no time, since streams are to be closed before."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=60)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        async with asyncio.timeout(20):
            await runner.cleanup()


@asynccontextmanager
async def ticking(dashboard: Dashboard) -> AsyncIterator[int]:
    """Run a dashboard behind a port; it is closed before the server."""
    async with listening(dashboard.routes()) as port, asyncio.TaskGroup() as tasks:
        tasks.create_task(dashboard.run())
        try:
            yield port
        finally:
            await dashboard.aclose()


class Subscriber:
    """A raw HTTP client of `/events`, so that nothing reads ahead by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = self._unread = b""

    @classmethod
    async def connect(cls, port: int, *, receive_bytes: int | None = None) -> Subscriber:
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        found = cls(reader, writer)
        found.head = await within(reader.readuntil(b"\r\n\r\n"))
        return found

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    async def event(self) -> dict[str, Any]:
        """The next event: its name and data. What is no field (HTTP's chunk headers) is skipped."""
        fields: dict[str, str] = {}
        while True:
            line = (await self._line()).decode().rstrip("\r")
            name, _, value = line.partition(": ")
            if name in {"event", "id", "data"}:
                fields[name] = value
            elif line == "" and "data" in fields:
                return {**fields, "data": json.loads(fields["data"])}

    async def _line(self) -> bytes:
        while b"\n" not in self._unread:
            piece = await within(self.reader.read(2048))
            if not piece:
                raise EOFError
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def close(self) -> None:
        self.writer.close()


async def within(awaited: Awaitable[bytes], limit_s: float = 20.0) -> bytes:
    async with asyncio.timeout(limit_s):
        return await awaited


async def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_subscriber_gets_the_whole_view_at_once_and_every_change_after() -> None:
    async def check() -> None:
        views = [two_nodes()]
        async with ticking(Dashboard(lambda: views[-1], interval_s=0.02)) as port:
            subscriber = await Subscriber.connect(port)
            assert b"Content-Type: text/event-stream" in subscriber.head
            assert b"Cache-Control: no-store" in subscriber.head
            first = await subscriber.event()
            assert [node["name"] for node in first["data"]["nodes"]] == ["rack-1", "rack-2"]
            views.append(two_nodes(state="down", heard_s=14.0))
            sequence = first["data"]["sequence"]
            while (later := await subscriber.event())["data"]["nodes"][1]["state"] == "up":
                assert later["data"]["sequence"] == sequence + 1
                sequence += 1
            assert later["id"] == f"{later['data']['epoch']}:{later['data']['sequence']}"
            subscriber.close()

    asyncio.run(check())


def test_two_processes_never_share_an_epoch() -> None:
    async def epoch() -> str:
        async with ticking(Dashboard(two_nodes, interval_s=0.02)) as port:
            subscriber = await Subscriber.connect(port)
            found = (await subscriber.event())["data"]["epoch"]
            subscriber.close()
            return str(found)

    assert asyncio.run(epoch()) != asyncio.run(epoch())


def test_silence_is_filled_with_beats() -> None:
    async def check() -> None:
        streams = a_streams(beat_s=0.05)
        async with listening([web.get("/events", streams.handle)]) as port:
            subscriber = await Subscriber.connect(port)
            assert (await subscriber.event())["event"] == "view"
            assert [(await subscriber.event())["event"] for _ in range(3)] == ["beat"] * 3
            subscriber.close()
            await streams.aclose()

    asyncio.run(check())


def a_streams(
    view: FleetView | None = None, *, beat_s: float = 3.0, stall_s: float = 20.0, frames: Frames | None = None
) -> EventStreams:
    kept = frames or Frames(epoch="e", history=History(), step_s=2.0)
    fleet = (view or FleetView(nodes=())).to_json()

    def refresh() -> None:
        kept.update(fleet)

    return EventStreams(kept, refresh=refresh, beat_s=beat_s, stall_s=stall_s)


def test_a_slow_subscriber_is_owed_one_frame_at_most_and_then_gets_the_newest() -> None:
    async def check() -> None:
        frames = Frames(epoch="e", history=History(), step_s=2.0)
        fat = FleetView(nodes=(), notices=("x" * 8000,))
        streams = a_streams(fat, frames=frames, beat_s=0.05)
        async with listening([web.get("/events", streams.handle)]) as port:
            subscriber = await Subscriber.connect(port, receive_bytes=2048)
            (transport,) = streams._open
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            owed = []
            for number in range(300):
                frames.update(replace(fat, notices=("x" * 8000, str(number))).to_json())
                streams.wake()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                owed.append(transport.get_write_buffer_size())
            assert 0 < max(owed) < 2 * 8000
            given: list[str] = []
            while not given or given[-1] != "299":
                notices = (await subscriber.event())["data"]["notices"]
                given.append(notices[-1])
            assert len(given) < 10
            subscriber.close()
            await streams.aclose()

    asyncio.run(check())


def test_a_subscriber_that_takes_nothing_is_cut() -> None:
    async def check() -> None:
        frames = Frames(epoch="e", history=History(), step_s=2.0)
        fat = FleetView(nodes=(), notices=("x" * 4_000_000,) * 3)
        streams = a_streams(fat, frames=frames, beat_s=0.05, stall_s=0.2)
        async with listening([web.get("/events", streams.handle)]) as port:
            subscriber = await Subscriber.connect(port, receive_bytes=2048)
            assert len(streams) == 1
            await until(lambda: len(streams) == 0)
            subscriber.close()

    asyncio.run(check())


def test_the_stream_after_the_last_allowed_one_is_refused_with_503_and_a_place_frees_again() -> None:
    async def check() -> None:
        dashboard = Dashboard(two_nodes, interval_s=0.02)
        async with ticking(dashboard) as port:
            open_ones = [await Subscriber.connect(port) for _ in range(STREAMS_MAX)]
            assert {one.status for one in open_ones} == {200}
            late = await Subscriber.connect(port)
            assert late.status == 503
            assert b"Retry-After: " in late.head
            open_ones[0].close()
            await until(lambda: dashboard.watchers < STREAMS_MAX)
            again = await Subscriber.connect(port)
            assert again.status == 200
            for one in (*open_ones, late, again):
                one.close()

    asyncio.run(check())


@pytest.mark.parametrize("reads", [True, False])
def test_aclose_ends_every_stream_even_of_those_who_do_not_read(reads: bool) -> None:  # noqa: FBT001 - a case, not a switch
    async def check() -> None:
        fat = FleetView(nodes=(), notices=("x" * 4_000_000,) * 3)
        dashboard = Dashboard(lambda: two_nodes() if reads else fat, interval_s=0.02)
        async with ticking(dashboard) as port:
            some = [await Subscriber.connect(port, receive_bytes=None if reads else 2048) for _ in range(3)]
            async with asyncio.timeout(20):
                await dashboard.aclose()
            assert dashboard.watchers == 0
            some.append(await Subscriber.connect(port))
            assert some[-1].status == 503
            if reads:
                assert b"event: view" in await within(some[0].reader.read())  # Returns at the end of the stream.
            for one in some:
                one.close()

    asyncio.run(check())


def test_nothing_is_computed_for_nobody_but_samples_are_taken() -> None:
    async def check() -> None:
        asked = []
        dashboard = Dashboard(lambda: asked.append(1) or two_nodes(), interval_s=1.0)  # type: ignore[func-returns-value]
        for _ in range(6):
            dashboard._tick()
        assert len(asked) == 3
        assert dashboard._history.taken == 3
        assert dashboard._frames.newest.sequence == 0

    asyncio.run(check())
