"""Who leaves costs nobody else: a node that is lost, a client that goes away, a client that does not read."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.gateway.odd_engine import OddEngine, chunk, head, odd_engine, saying
from tests.gateway.rig import NOWHERE, PLACES, Box, Front, boxes_with, engine, fleet, read_until_cut, text_of, until

if TYPE_CHECKING:
    from propagul.link.base import ByteLink, NodeId
    from tests.engines import LlamaServer

pytestmark = pytest.mark.engine

FINE = head("200 OK", length=2) + b"{}"


# --- nodes that go ----------------------------------------------------------------------------------------------


def test_a_lost_node_cuts_its_streams_and_its_unanswered_requests_go_elsewhere_at_once(slow: LlamaServer) -> None:
    async def waiting(odd: OddEngine, _: asyncio.StreamWriter) -> None:
        await odd.release.wait()

    async def run() -> None:
        async with odd_engine(waiting) as silent, odd_engine(saying(FINE)) as fine:
            gone = Box("box-b", [engine(slow.url, "slow"), engine(silent.url, "m")])
            other = Box("box-c", [engine(fine.url, "m", in_flight=5)])
            async with fleet(Box("box-a"), gone, other) as front, asyncio.TaskGroup() as tasks:
                unanswered = tasks.create_task(text_of(front, "m"))
                said = bytearray()
                streamed = tasks.create_task(read_until_cut(front, "slow", said))
                await until(lambda: bool(said) and bool(silent.bodies))
                assert gone.serving.in_flight() == {slow.url: 1, silent.url: 1}
                began = time.monotonic()
                front.gateway.node_lost(gone.id)
                assert await unanswered == "{}"
                await streamed
                assert time.monotonic() - began < 1
                await until(lambda: gone.serving.in_flight() == {})

    asyncio.run(run())


def test_a_tunnel_that_never_opens_ends_when_its_node_is_lost() -> None:
    opening = asyncio.Event()

    async def never(_: NodeId) -> ByteLink:
        opening.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        here, there = boxes_with("there", NOWHERE)
        async with fleet(here, there, open_tunnel=never) as front, asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(text_of(front, "m"))
            await opening.wait()
            began = time.monotonic()
            front.gateway.node_lost(there.id)
            assert "backend_unreachable" in await asked
            assert time.monotonic() - began < 1

    asyncio.run(run())


def test_tunnels_are_kept_and_few(alpha: LlamaServer) -> None:
    async def run() -> None:
        here, there = boxes_with("there", alpha.url, "alpha")
        async with fleet(here, there) as front:
            for _ in range(5):
                await text_of(front, "alpha")
            assert there.tunnels_accepted == 1
            await asyncio.gather(*(text_of(front, "alpha") for _ in range(9)))
            tunnels = front.gateway._tunnels
            assert tunnels is not None
            await until(lambda: not tunnels._acquired)
            assert [len(kept) for kept in tunnels._conns.values()] == [4]

    asyncio.run(run())


# --- clients that go, or dawdle ---------------------------------------------------------------------------------


@PLACES
def test_a_client_that_leaves_frees_the_slot_within_a_second(place: str, slow: LlamaServer) -> None:
    async def run() -> None:
        here, there = boxes_with(place, slow.url, "slow")
        async with fleet(here, there) as front:

            async def idle() -> bool:
                async with front.client.get(f"{slow.url}/slots") as answer:
                    return not any(slot["is_processing"] for slot in await answer.json())

            await until(idle)
            async with front.chat("slow", stream=True, max_tokens=900) as answer:
                await answer.content.readany()
                assert not await idle()
            serving = (here if place == "here" else there).serving
            await until(lambda: serving.in_flight() == {}, within_s=1)
            await until(idle, within_s=2)

    asyncio.run(run())


@PLACES
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_answer_frees_the_engine(place: str, *, stream: bool) -> None:
    async def waiting(odd: OddEngine, _: asyncio.StreamWriter) -> None:
        await odd.left.wait()

    async def run() -> None:
        async with odd_engine(waiting) as odd, fleet(*boxes_with(place, odd.url)) as front:
            asked = asyncio.create_task(text_of_stream(front, stream=stream))
            await until(lambda: bool(odd.bodies))
            asked.cancel()
            async with asyncio.timeout(20):
                await odd.left.wait()

    asyncio.run(run())


async def text_of_stream(front: Front, *, stream: bool) -> None:
    async with front.chat("m", stream=stream):
        pass


@PLACES
def test_a_slow_reader_holds_the_engine_back_and_memory_flat(place: str) -> None:
    part, parts = b"x" * 65_536, 4_000

    async def flood(odd: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(head("200 OK"))
        for _ in range(parts):
            writer.write(chunk(part))
            await writer.drain()
            odd.written_bytes += len(part)
        writer.write(b"0\r\n\r\n")

    async def run() -> None:
        async with odd_engine(flood) as odd, fleet(*boxes_with(place, odd.url)) as front:
            async with front.chat("m", stream=True) as answer:
                await settled(odd)
                assert odd.written_bytes < 48 * 2**20 < parts * len(part)
                assert len(await answer.content.readexactly(8 * 2**20)) == 8 * 2**20
            async with asyncio.timeout(20):
                await odd.left.wait()

    async def settled(odd: OddEngine) -> None:
        """Wait until the engine could write nothing for a while."""
        last, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < 0.3:
            if odd.written_bytes != last:
                last, quiet_since = odd.written_bytes, time.monotonic()
            await asyncio.sleep(0.02)

    asyncio.run(run())
