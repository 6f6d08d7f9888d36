"""Tunnels in either direction: real stores, real TCP, and members that ask for too much."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fleet_app.gateway.tunnels import ServedTunnel
from propagul import AgentStateStore
from propagul.errors import LinkError, PeerProtocolError
from propagul.link import TcpTransport
from propagul.link.messages import NONCE_BYTES, pack
from propagul.store._asks import Dial, Undialed, Why, is_ask, pack_ask, unpack_ask
from propagul.store._tunnels import PACE_S, UNDER_WAY_MAX, Tunnels, _Budget, _first_of
from tests.link.test_awaited import arrived
from tests.link.test_hand_over import Caller, ask
from tests.link.world import standing
from tests.store.world import FAST, ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from propagul.link import ByteLink, Link
    from propagul.store._mesh import Mesh

UNAWAITED = "dialled for a tunnel that nobody here waits for"


class Serving:
    """A store's tunnel handler: HTTP that says whom it talks to."""

    def __init__(self, *stores: AgentStateStore) -> None:
        self.links: list[Link] = []
        for store in stores:
            store.on_tunnel(self.serve)

    async def serve(self, link: ByteLink) -> None:
        self.links.append(link)

        async def answer(request: web.BaseRequest) -> web.Response:
            return web.Response(text=f"{request.path} {len(await request.read())} for {link.peer}")

        server = web.Server(answer)
        tunnel = ServedTunnel(server())
        transport = link.hand_over(tunnel)
        try:
            await tunnel.closed.wait()
        finally:
            transport.abort()
            await server.shutdown()


async def talk(caller: AgentStateStore, link: ByteLink, body_bytes: int = 300_000) -> None:
    """Two whole requests over one tunnel."""
    client = Caller()
    transport = link.hand_over(client)
    for path in ("/first", "/second"):
        ask(transport, path, body_bytes)
        await until(lambda path=path: f"{path} {body_bytes} for {caller.node}".encode() in client.heard)  # type: ignore[misc]
    assert client.heard.count(b"HTTP/1.1 200 OK") == 2
    transport.close()
    await asyncio.wait_for(client.lost.wait(), 20)


def store(name: str, *, port: int | None = 0, advertise: Sequence[tuple[str, int]] | None = None) -> AgentStateStore:
    return AgentStateStore(ROOM, name, port, "127.0.0.1", secret=SECRET, config=FAST, advertise=advertise)


@asynccontextmanager
async def linked(a: AgentStateStore, b: AgentStateStore) -> AsyncIterator[Serving]:
    """`b` dials `a` for gossip; both know each other's row. `b` serves tunnels."""
    serving = Serving(b)
    async with AsyncExitStack() as stack:
        await a.start()
        stack.push_async_callback(a.stop)
        listening = a._network._listener.address if a._network and a._network._listener else None
        await b.start(peers=[listening] if listening else [])
        stack.push_async_callback(b.stop)
        await until(lambda: a.presence.get("members/" + b.node) and b.presence.get("members/" + a.node))
        yield serving


def mesh_of(of: AgentStateStore) -> Mesh:
    assert of._network is not None
    return of._network.mesh


def tunnels_of(of: AgentStateStore) -> Tunnels:
    assert of._network is not None
    return of._network._tunnels


def test_a_store_that_listens_nowhere_serves_a_tunnel_for_another() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b) as serving:
            assert b.addresses == ()
            for _ in range(3):
                await talk(a, await a.open_tunnel(b.node))
            assert [link.dialed for link in serving.links] == [True] * 3
            assert a.refusals() == []

    run(scenario)


def test_a_member_that_can_be_dialled_is_dialled() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        async with linked(a, b) as serving:
            await talk(a, await a.open_tunnel(b.node))
            assert [link.dialed for link in serving.links] == [False]

    run(scenario)


@pytest.mark.parametrize("wall", ["closed", "silent"])
def test_a_member_behind_a_wall_is_asked_and_then_asked_first(wall: str) -> None:
    """`silent`: its address takes connections and says nothing, as a firewall that drops; no dial ends in this test."""

    async def scenario() -> None:
        knocks = 0

        def knock(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal knocks
            knocks += 1
            writers.append(writer)

        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(knock, "127.0.0.1", 0)
        where = server.sockets[0].getsockname()[:2]
        if wall == "closed":
            server.close()
        credentials = standing()
        patient = TcpTransport(credentials, handshake_timeout_s=300)
        a = AgentStateStore(ROOM, "a", 0, transport=patient, credentials=credentials, config=FAST)
        b = store("b", advertise=[where])
        async with linked(a, b) as serving:
            for _ in range(3):
                await talk(a, await a.open_tunnel(b.node))
            assert [link.dialed for link in serving.links] == [True] * 3
            assert knocks == (wall == "silent"), "once dialled in vain, it is asked first"
        for writer in writers:
            writer.transport.abort()
        server.close()

    run(scenario)


def test_an_advertised_address_that_leads_nowhere_does_not_matter_where_the_gossip_link_was_dialled() -> None:
    async def scenario() -> None:
        a, b = store("a", advertise=[("127.0.0.1", 1)]), loopback("b", port=None)
        async with linked(a, b) as serving:
            await talk(a, await a.open_tunnel(b.node))
            assert [link.dialed for link in serving.links] == [True]

    run(scenario)


async def close_port(of: AgentStateStore) -> None:
    """Open links stay; nobody is answered any more."""
    assert of._network is not None
    assert of._network._listener is not None
    await of._network._listener.aclose()


def test_where_neither_can_dial_the_error_says_what_was_tried_and_why_not() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b):
            here = a.addresses[0]
            await close_port(a)
            with pytest.raises(LinkError) as failed:
                await a.open_tunnel(b.node)
            assert str(failed.value) == (
                "no tunnel: that node has told no address it can be dialled at; "
                f"it was asked to dial back and reached nobody at {here}"
            )
            with pytest.raises(
                LinkError, match=r"^no tunnel: nobody listens at .*; it cannot dial back, for this node"
            ):
                await b.open_tunnel(a.node)

    run(scenario)


def test_a_member_without_a_link_or_without_tunnels_is_said_so() -> None:
    async def scenario() -> None:
        a, b, far = loopback("a"), loopback("b", port=None), loopback("far", port=None)
        async with linked(a, b):
            with pytest.raises(LinkError, match="for no gossip link to it is open"):
                await a.open_tunnel(far.node)
            await far.start(peers=[address(a)])
            await until(lambda: far.node in a.linked())
            with pytest.raises(LinkError, match="it serves no tunnels"):
                await a.open_tunnel(far.node)
            await far.stop()

    run(scenario)


def test_forty_tunnels_at_once_are_brought_although_few_are_at_a_time() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b) as serving:
            links = await asyncio.gather(*(a.open_tunnel(b.node) for _ in range(40)))
            await asyncio.gather(*(talk(a, link, body_bytes=100) for link in links))
            assert len(serving.links) == 40

    run(scenario)


def asks_between(a: AgentStateStore, b: AgentStateStore) -> tuple[list[bytes], Link]:
    """What `b` is asked from now on, and its link to `a`."""
    assert b._network is not None
    asked: list[bytes] = []
    mesh, hear = mesh_of(b), mesh_of(b).on_ask

    def tap(link: Link, frame: bytes) -> None:
        asked.append(frame)
        hear(link, frame)

    mesh.on_ask = tap
    return asked, mesh._open[mesh.node.linked()[a.node]].link


def test_a_nonce_that_is_shown_again_opens_nothing_and_is_counted() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b) as serving:
            asked, link = asks_between(a, b)
            await talk(a, await a.open_tunnel(b.node))
            assert [type(unpack_ask(frame)) for frame in asked] == [Dial]
            mesh_of(b).on_ask(link, asked[0])
            await until(lambda: [refusal.reason for refusal in a.refusals()] == [UNAWAITED])
            assert len(serving.links) == 1
            await talk(a, await a.open_tunnel(b.node))

    run(scenario)


def test_who_asked_and_left_is_dialled_in_vain_and_nothing_stays() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b) as serving:
            hear = mesh_of(b).on_ask
            held: list[tuple[Link, bytes]] = []
            mesh_of(b).on_ask = lambda link, frame: held.append((link, frame))
            opening = asyncio.create_task(a.open_tunnel(b.node))
            await until(lambda: held)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            hear(*held[0])
            await until(lambda: [refusal.reason for refusal in a.refusals()] == [UNAWAITED])
            await a.stop()
            hear(*held[0])
            await until(lambda: not tunnels_of(b)._budgets[a.node].under_way)
            assert serving.links == []

    run(scenario)


def test_a_member_cannot_have_us_dial_without_bound() -> None:
    async def scenario() -> None:
        dials = 0

        def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal dials
            dials += 1
            writer.close()

        async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
            victim = server.sockets[0].getsockname()[:2]
            a, b = store("a", advertise=[victim] * 16), loopback("b", port=None)
            async with linked(a, b):
                asked, link = asks_between(a, b)
                before, began = dials, time.monotonic()
                budget = tunnels_of(b)._budgets.setdefault(a.node, _Budget(asyncio.get_running_loop().time()))
                for _ in range(5):
                    for number in range(100):
                        mesh_of(b).on_ask(link, pack_ask(Dial(number.to_bytes(NONCE_BYTES))))
                    assert budget.under_way <= UNDER_WAY_MAX
                    await until(lambda: not budget.under_way)
                allowed = UNDER_WAY_MAX + (time.monotonic() - began) / PACE_S + 1
                assert 0 < dials - before <= allowed, (dials, before, allowed)
                assert len(asked) == 500

    run(scenario)


@pytest.mark.parametrize(
    ("frame", "ends"),
    [
        (pack([16, "dance", [1]]), False),
        (pack([16, "undialed", [b"n" * 16, "unheard of", 1], 2]), False),
        (pack([17, "dial", [b"n" * 16]]), False),
        (pack([16, "dial", [b"short"]]), True),
        (pack([16, "dial", b"n" * 16]), True),
        (pack([16, 16]), True),
        (pack_ask(Dial(b"n" * 16)) + b"more", True),
        (pack([16, "dance", b"x" * 2000]), True),
    ],
    ids=[
        "unknown word",
        "unknown code",
        "unknown kind",
        "short nonce",
        "no list",
        "no word",
        "more than a list",
        "long",
    ],
)
def test_what_is_not_understood_is_ignored_and_what_is_malformed_ends_the_link(frame: bytes, *, ends: bool) -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b):
            before = b.stats.links_dropped
            assert mesh_of(a).ask(b.node, frame)
            a.set("k", 1)
            await until(lambda: b.get("k") == 1)
            assert (b.stats.links_dropped > before) == ends

    run(scenario)


def test_asks_say_what_they_were_given_and_are_told_from_gossip() -> None:
    for said in (Dial(b"n" * NONCE_BYTES), Undialed(b"n" * NONCE_BYTES, Why.BUSY)):
        assert unpack_ask(pack_ask(said)) == said
        assert is_ask(pack_ask(said))
    for gossip in (b"", b"\x93", pack([1, 16, 0]), pack(list(range(3))), pack([15, "x", 1]), pack([])):
        assert not is_ask(gossip)
    with pytest.raises(PeerProtocolError):
        unpack_ask(pack([16, "undialed", [b"n" * NONCE_BYTES, 7]]))


def test_frames_that_wait_for_a_link_are_bounded() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b", port=None)
        async with linked(a, b):
            taken = [mesh_of(a).ask(b.node, pack([16, "dance"])) for _ in range(1000)]
            assert 0 < taken.count(True) < 100
            assert not mesh_of(a).ask(a.node, b"")

    run(scenario)


@pytest.mark.parametrize("cancelled", [True, False])
def test_of_two_tunnels_that_arrive_together_one_is_closed(monkeypatch: pytest.MonkeyPatch, *, cancelled: bool) -> None:
    """If the caller has gone meanwhile, both are."""
    monkeypatch.setattr("propagul.store._tunnels.HEAD_START_S", 0.0)

    async def scenario() -> None:
        both = asyncio.Event()
        ends = [arrived(), arrived()]

        async def slow() -> ByteLink:
            await both.wait()
            return ends[0][1]

        async def quick() -> ByteLink:
            both.set()
            if cancelled:
                racing.cancel()
            return ends[1][1]

        racing = asyncio.create_task(_first_of(slow, quick))
        outcome = (await asyncio.gather(racing, return_exceptions=True))[0]
        kept = [end.aborted for end, _ in ends].count(False)
        if cancelled:
            assert isinstance(outcome, asyncio.CancelledError)
            assert ends[1][0].aborted
        else:
            assert outcome in [link for _, link in ends]
            assert kept == 1

    run(scenario)


def test_a_defect_on_one_way_is_not_taken_for_a_peers_trouble() -> None:
    async def scenario() -> None:
        async def broken() -> ByteLink:
            raise ZeroDivisionError

        async def unreachable() -> ByteLink:
            raise LinkError("nobody listens")

        with pytest.raises(ZeroDivisionError):
            await _first_of(unreachable, broken)
        with pytest.raises(LinkError, match=r"^no tunnel: nobody listens; nobody listens$"):
            await _first_of(unreachable, unreachable)

    run(scenario)
