"""Questions between members: real stores, real TCP, and both ends at their worst."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from propagul.errors import ClosedError, IdentityError, LimitExceeded, LinkError, PeerProtocolError
from propagul.link import NodeId, Purpose, TcpTransport
from propagul.link.messages import pack
from propagul.store._questions import UNDER_WAY_MAX, Questions, ask, packed_question
from tests.link.world import standing
from tests.store.world import loopback, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from propagul import AgentStateStore


async def echo(peer: NodeId, arguments: object) -> object:
    return [peer, arguments]


async def refuse(_: NodeId, __: object) -> object:
    raise ValueError("a secret of this machine")


async def fail(_: NodeId, __: object) -> object:
    raise RuntimeError("a secret of this machine")


async def sleep(_: NodeId, __: object) -> object:
    await asyncio.sleep(60)
    return "too late"


async def lengthy(_: NodeId, arguments: object) -> object:
    assert isinstance(arguments, int)
    return "x" * arguments


ROUTES = {"echo": echo, "refuse": refuse, "fail": fail, "sleep": sleep, "lengthy": lengthy}


@asynccontextmanager
async def linked(a: AgentStateStore, b: AgentStateStore) -> AsyncIterator[None]:
    """`b` dials `a` for gossip and answers all routes."""
    for name, route in ROUTES.items():
        b.on_query(name, route)
    async with AsyncExitStack() as stack:
        await a.start()
        stack.push_async_callback(a.stop)
        await b.start(peers=[a.addresses[0]])
        stack.push_async_callback(b.stop)
        await until(lambda: a.presence.get("members/" + b.node) and b.presence.get("members/" + a.node))
        yield


@pytest.mark.parametrize("port", [0, None])
def test_a_member_answers_what_it_is_asked_whether_it_can_be_dialled_or_not(port: int | None) -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=port)
        async with linked(a, b):
            for question in (None, {"names": ["cpu"], "start_s": 1.5}, [1, b"2", "3"]):
                assert await a.query(b.node, "echo", question) == [a.node, question]
            assert await a.query(b.node, "lengthy", 1_000_000) == "x" * 1_000_000
            assert a.refusals() == []

    run(scenario)


def test_every_reason_why_there_is_no_answer_is_told_in_words_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("propagul.store._questions.ANSWER_S", 0.5)

    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        async with linked(a, b):
            wrong: dict[str, tuple[object, str]] = {
                "unheard of": (None, "does not answer 'unheard of'"),
                "refuse": (None, "does not understand the arguments"),
                "fail": (None, "its log says why"),
                "sleep": (None, "did not find the answer"),
                "lengthy": (2_000_000, "longer than 1 MiB"),
            }
            for route, (arguments, words) in wrong.items():
                with pytest.raises(LinkError, match=words) as caught:
                    await a.query(b.node, route, arguments)
                assert "secret of this machine" not in str(caught.value)
            with pytest.raises(LimitExceeded):
                await a.query(b.node, "echo", "x" * 5000)
            with pytest.raises(LinkError):
                await a.query(NodeId("a" * 52), "echo")
            assert await a.query(b.node, "echo", 1) == [a.node, 1]

    run(scenario)


def test_one_member_is_answered_so_many_questions_at_a_time() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        async with linked(a, b):
            asked = [asyncio.create_task(a.query(b.node, "sleep")) for _ in range(UNDER_WAY_MAX + 2)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            busy = [one for one in outcomes if "as many questions" in str(one)]
            late = [one for one in outcomes if "did not find" in str(one)]
            assert (len(busy), len(late)) == (2, UNDER_WAY_MAX)
            assert await a.query(b.node, "echo", 1) == [a.node, 1]

    run(scenario)


def test_a_stranger_asks_in_vain() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        async with linked(a, b):
            stranger = TcpTransport(standing(secret="another secret altogether"))
            with pytest.raises(IdentityError):
                await stranger.dial(b.addresses[0], Purpose.QUERY)
            await until(lambda: len(b.refusals()) == 1)

    run(scenario)


class Ends:
    """A link whose other end says these frames, and hangs up."""

    peer = NodeId("p")

    def __init__(self, *frames: bytes) -> None:
        self.frames, self.sent = list(frames), list[bytes]()

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    async def receive(self) -> bytes:
        if not self.frames:
            raise ClosedError("gone")
        return self.frames.pop(0)


@pytest.mark.parametrize(
    "frames",
    [
        [b"\xc1"],
        [pack(["answer"])],
        [pack(["answer", 0, 0])],
        [pack(["answer", 2**30, 1])],
        [pack(["answer", 5, 2**20])],
        [pack(["answer", 5, 1]), b"\x01"],
        [pack(["answer", 2, 2]), b"\x01" * 100, b"\x01" * 100],
        [pack(["answer", 1, 1]), b"\xc1"],
        [pack(["answer", 2, 1]), b"\x01\x01"],
        [pack(["dance", 1])],
    ],
)
def test_an_answer_that_is_none_is_an_error_of_the_peer(frames: Sequence[bytes]) -> None:
    async def scenario() -> None:
        with pytest.raises(PeerProtocolError):
            await ask(Ends(*frames), "r", b"")  # type: ignore[arg-type]  # as much of a link as is used

    run(scenario)


@pytest.mark.parametrize("frames", [[], [pack(["answer", 5, 1])], [pack(["refused", "because"])]])
def test_who_hangs_up_or_refuses_for_an_unknown_reason_is_told_of(frames: Sequence[bytes]) -> None:
    async def scenario() -> None:
        with pytest.raises(LinkError):
            await ask(Ends(*frames), "r", b"")  # type: ignore[arg-type]  # as much of a link as is used

    run(scenario)


@pytest.mark.parametrize(
    "frame", [b"\xc1", pack([]), pack(["ask"]), pack(["ask", "echo"]), pack(["dance", "echo", 1]), b"x" * 5000]
)
def test_a_question_that_is_none_ends_its_link(frame: bytes) -> None:
    async def scenario() -> None:
        link: Any = Ends(frame)
        with pytest.raises(PeerProtocolError):
            await Questions(ROUTES).serve(link)
        assert link.sent == []

    run(scenario)


def test_who_asks_nothing_is_left_alone() -> None:
    async def scenario() -> None:
        link: Any = Ends()
        await Questions(ROUTES).serve(link)
        assert link.sent == []

    run(scenario)


def test_a_question_of_a_newer_version_is_answered_as_far_as_it_is_known() -> None:
    async def scenario() -> None:
        link: Any = Ends(pack(["ask", "echo", 1, "and politely"]))
        await Questions(ROUTES).serve(link)
        answer: Any = Ends(*link.sent)
        assert await ask(answer, "echo", packed_question("echo", 1)) == ["p", 1]

    run(scenario)
