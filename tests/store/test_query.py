"""The question whether members have logged some writes, as it crosses a link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from propagul.crdt import Dot, Origin, Stamp
from propagul.errors import PeerProtocolError
from propagul.link.messages import pack
from propagul.store._query import answer_logged, ask_logged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.link import Link


class Queued:
    """One end of a link in memory."""

    def __init__(self, received: asyncio.Queue[bytes], sent: asyncio.Queue[bytes]) -> None:
        self._received, self._sent = received, sent

    async def receive(self) -> bytes:
        return await self._received.get()

    async def send(self, frame: bytes) -> None:
        await self._sent.put(frame)


def ends() -> tuple[Link, Link]:
    one: asyncio.Queue[bytes] = asyncio.Queue()
    other: asyncio.Queue[bytes] = asyncio.Queue()
    return cast("Link", Queued(one, other)), cast("Link", Queued(other, one))


@pytest.mark.parametrize("count", [0, 1, 3000, 7001])
def test_a_question_with_any_number_of_writes_arrives_whole(count: int) -> None:
    """A process that was restarted very often has as many origins."""
    dots = [Dot(Stamp(2**62 + number), Origin(2**64 - 1 - number)) for number in range(count)]
    heard: list[tuple[list[Dot], int, float]] = []

    async def logged(found: Sequence[Dot], peers: int, timeout_s: float) -> int:
        heard.append((list(found), peers, timeout_s))
        return 2

    async def scenario() -> None:
        asking, answering = ends()
        answer = asyncio.create_task(answer_logged(answering, logged))
        assert await ask_logged(asking, dots, 3, 1.5) == 2
        await answer

    asyncio.run(scenario())
    assert heard == [(dots, 3, 1.5)]


@pytest.mark.parametrize(
    "frames",
    [
        [pack(["logged", 1, 1000, -1])],
        [pack(["logged", 1, 1000, 1001])],
        [pack(["heard", 1, 1000, 0])],
        [pack(["logged", 1, 1000, 1]), pack([1])],
        [pack(["logged", 1, 1000, 1]), pack([1, 1] * 3001)],
    ],
)
def test_what_is_no_question_gets_no_answer(frames: list[bytes]) -> None:
    async def never(*_: object) -> int:
        raise AssertionError("asked")

    async def scenario() -> None:
        asking, answering = ends()
        for frame in frames:
            await asking.send(frame)
        with pytest.raises(PeerProtocolError):
            await answer_logged(answering, never)

    asyncio.run(scenario())
