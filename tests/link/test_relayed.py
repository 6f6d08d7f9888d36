"""Links whose bytes somebody else carries: end to end, unreadable on the way, and broken by whoever changes them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from propagul.errors import ClosedError, IdentityError, LinkError, PropagulError
from propagul.link import Address, Purpose, TcpTransport, public_bytes
from propagul.link.tcp_link import TcpLink
from tests.link.test_hand_over import Caller
from tests.link.world import (
    OTHER_SECRET,
    ROOM,
    SECRET,
    echo,
    linked,
    listening,
    member,
    reasons,
    run,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from propagul.link import Link, NodeId

VIA = Address("a relay", 0)
PLAIN = b"what only the two ends may read " * 40


@dataclass
class Relay:
    """A third party between two TCP connections, which keeps what it copies and may flip one bit of it."""

    address: Address = VIA
    seen: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    flip_at: int | None = None
    ends: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ends.append((reader, writer))
        if len(self.ends) == 2:
            (first, to_first), (second, to_second) = self.ends
            self.tasks += [asyncio.create_task(self.copy(0, first, to_second))]
            self.tasks += [asyncio.create_task(self.copy(1, second, to_first))]

    async def copy(self, way: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                start = len(self.seen[way])
                self.seen[way] += chunk
                if way == 0 and self.flip_at is not None and start <= self.flip_at < start + len(chunk):
                    place = self.flip_at - start
                    chunk = chunk[:place] + bytes([chunk[place] ^ 1]) + chunk[place + 1 :]
                writer.write(chunk)
        writer.close()


@asynccontextmanager
async def relaying(flip_at: int | None = None) -> AsyncIterator[Relay]:
    relay = Relay(flip_at=flip_at)
    server = await asyncio.start_server(relay.enter, "127.0.0.1", 0)
    relay.address = Address(*server.sockets[0].getsockname()[:2])
    try:
        yield relay
    finally:
        server.close()
        for _, writer in relay.ends:
            writer.transport.abort()
        await asyncio.gather(*relay.tasks)


async def carried(relay: Relay) -> asyncio.Transport:
    """A plain connection to the relay."""
    connection, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *relay.address)
    return connection


async def both_ends(
    relay: Relay, ours: TcpTransport, theirs: TcpTransport, expect: NodeId | None = None
) -> tuple[TcpLink, TcpLink]:
    """A link through a relay: the dialler's end and the acceptor's."""
    dialler, acceptor = ours.over(await carried(relay), VIA), theirs.over(await carried(relay), VIA)
    dialled, accepted = await asyncio.gather(
        dialler.dial(Purpose.TUNNEL, expect=expect or theirs.node), acceptor.accept({Purpose.TUNNEL}),
        return_exceptions=True,
    )  # fmt: skip
    if isinstance(dialled, BaseException) or not isinstance(accepted, TcpLink):
        acceptor.abort()
        assert isinstance(dialled, PropagulError)
        raise dialled
    return dialled, accepted


def test_a_link_over_a_relay_is_as_good_as_any_and_the_relay_reads_nothing_of_it() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with relaying() as relay:
            dialled, accepted = await both_ends(relay, ours, theirs)
            assert (dialled.peer, accepted.peer) == (theirs.node, ours.node)
            assert (dialled.dialed, accepted.dialed, dialled.remote) == (True, False, VIA)
            for here, there in ((dialled, accepted), (accepted, dialled)):
                await here.send(PLAIN)
                assert await there.receive() == PLAIN
            await dialled.aclose()
            with pytest.raises(ClosedError):
                await accepted.receive()
            await accepted.aclose()
        assert min(map(len, relay.seen)) > len(PLAIN)
        for secret in secrets_of(ours, theirs):
            assert all(secret not in seen for seen in relay.seen), secret

    run(scenario)


def secrets_of(*members: TcpTransport) -> list[bytes]:
    """What nobody on the way may see: plaintext, names, certificates and the keys in them."""
    found = [PLAIN[:32], b"propagul", b"tunnel", ROOM.encode(), SECRET.encode()]
    for one in members:
        credentials = one._terms.credentials
        certificates = [credentials.certificate_pem, *credentials.ca_pems]
        found += [one.node.encode(), public_bytes(one.node), one._terms.instance, credentials.room_tag.encode()]
        found += [ssl.PEM_cert_to_DER_cert(certificate)[:64] for certificate in certificates]
    return found


@pytest.mark.parametrize("place", ["handshake", "link"])
def test_a_relay_that_flips_a_bit_breaks_the_link_and_nothing_else(place: str) -> None:
    async def scenario() -> None:
        ours, theirs = member(timeout_s=1.0), member(timeout_s=1.0)
        beside = await linked(ours, theirs)
        async with relaying(flip_at=600 if place == "handshake" else None) as relay:
            if place == "handshake":
                with pytest.raises((LinkError, IdentityError)):
                    await both_ends(relay, ours, theirs)
            else:
                dialled, accepted = await both_ends(relay, ours, theirs)
                await dialled.send(PLAIN)
                assert await accepted.receive() == PLAIN
                relay.flip_at = len(relay.seen[0]) + 100
                await dialled.send(PLAIN)
                for end in (accepted, dialled):
                    with pytest.raises(ClosedError):
                        await end.receive()
                await dialled.aclose()
                await accepted.aclose()
        async with listening(theirs) as listener:
            for link in (beside[0], await ours.dial(listener.address, Purpose.GOSSIP)):
                await link.send(b"well")
                await link.aclose()

    run(scenario)


def test_strangers_and_other_members_than_expected_are_refused_over_a_relay_too() -> None:
    async def scenario() -> None:
        theirs, third = member(), member()
        async with relaying() as relay:
            with pytest.raises(IdentityError, match="another room or another secret"):
                await both_ends(relay, member(OTHER_SECRET), theirs)
        assert reasons(theirs) == ["another room or another secret"]
        async with relaying() as relay:
            with pytest.raises(IdentityError, match="expected was"):
                await both_ends(relay, member(), theirs, expect=third.node)

    run(scenario)


def test_who_begins_late_has_lost_nothing_and_a_purpose_is_agreed_as_ever() -> None:
    """The acceptor speaks first; its words wait until the dialler asks for them."""

    async def scenario() -> None:
        ours, theirs = member(), member()
        async with relaying() as relay:
            dialler, acceptor = ours.over(await carried(relay), VIA), theirs.over(await carried(relay), VIA)
            accepting = asyncio.create_task(acceptor.accept({Purpose.TUNNEL}))
            await until(lambda: len(relay.seen[1]) > 100)
            with pytest.raises(LinkError, match="serves no links for gossip"):
                await dialler.dial(Purpose.GOSSIP, expect=theirs.node)
            assert await accepting is None
            assert reasons(theirs) == ["asked for a purpose that is not served here"]

    run(scenario)


def test_a_carrier_that_never_answers_is_given_up_and_closed() -> None:
    async def scenario() -> None:
        ours = member(timeout_s=0.2)
        async with relaying() as relay:
            carrier = await carried(relay)
            with pytest.raises(LinkError, match=r"a relay.* began no link in 0\.2 s"):
                await ours.over(carrier, VIA).dial(Purpose.TUNNEL, expect=member().node)
            assert carrier.is_closing()

    run(scenario)


@pytest.mark.parametrize("late", [True, False])
def test_tunnels_through_a_member_carry_a_link_that_this_member_cannot_read(*, late: bool) -> None:
    """Three members: a tunnel from each of two to the third, which copies; http-like bytes flow between the two."""

    async def scenario() -> None:
        ours, theirs, hub = member(), member(), member()
        read: list[bytes] = []
        halves: asyncio.Queue[Half] = asyncio.Queue()

        async def carry(link: Link) -> None:
            half = Half(read)
            assert isinstance(link, TcpLink)
            link.hand_over(half)
            await halves.put(half)
            await half.lost.wait()

        async with listening(hub, {Purpose.TUNNEL: carry}) as listener:
            tunnels = [await one.dial(listener.address, Purpose.TUNNEL) for one in (ours, theirs)]
            first, second = await halves.get(), await halves.get()
            first.pair(second)
            accepting = asyncio.create_task(theirs.over(tunnels[1], VIA).accept({Purpose.TUNNEL}))
            if late:  # the acceptor speaks first: its words lie in the tunnel when the dialler begins
                await until(lambda: tunnels[0]._stream._decoder.buffered > 100)
            dialled = await ours.over(tunnels[0], VIA).dial(Purpose.TUNNEL, expect=theirs.node)
            accepted = await accepting
            assert accepted is not None
            far, near = Caller(), Caller()
            answering, asking = accepted.hand_over(far), dialled.hand_over(near)
            body = bytes(range(256)) * 4000
            asking.write(body)
            await until(lambda: bytes(far.heard) == body)
            answering.write(PLAIN)
            await until(lambda: bytes(near.heard) == PLAIN)
            copied = b"".join(read)
            assert len(copied) > len(body)
            assert body[:64] not in copied
            assert PLAIN[:32] not in copied
            asking.close()
            await asyncio.wait_for(far.lost.wait(), 20)

    run(scenario)


class Half(asyncio.Protocol):
    """One side of a member that relays."""

    def __init__(self, read: list[bytes]) -> None:
        self.read, self.early, self.lost = read, list[bytes](), asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self.other: Half | None = None

    def pair(self, other: Half) -> None:
        for one, another in ((self, other), (other, self)):
            one.other = another
            for data in one.early:
                one.data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
            return
        self.read.append(data)
        assert self.other.transport is not None
        self.other.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set()
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


def test_a_relayed_acceptor_echoes_frames_longer_than_a_buffer_without_holding_them_all() -> None:
    async def scenario() -> None:
        async with relaying() as relay:
            dialled, accepted = await both_ends(relay, member(), member())
            serving = asyncio.create_task(echo(accepted))
            for number in range(50):
                await dialled.send(bytes([number]) * 60_000)
                assert await dialled.receive() == bytes([number]) * 60_000
            await dialled.aclose()
            await serving
            await accepted.aclose()

    run(scenario)
