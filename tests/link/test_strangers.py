"""What strangers can do at an open port: nothing, at bounded cost, and the book says why."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest

from propagul.errors import IdentityError, LinkError
from propagul.link import Credentials, Identity, Purpose, RoomAuthority, encode_frame, public_bytes
from propagul.link.certificates import invite_certificate
from propagul.link.credentials import tls_context
from propagul.link.identity import node_id
from propagul.link.messages import Hello, pack, pack_hello
from tests.link.world import (
    LOOPBACK,
    OTHER_SECRET,
    ROOM,
    SECRET,
    acceptor,
    heard,
    listening,
    member,
    run,
    standing,
    stranger,
    tls_as_dialer,
    until,
)

if TYPE_CHECKING:
    from propagul.link import Address, TcpTransport

FOREIGN = "another room or another secret"
GARBAGE = "not speaking this protocol"


async def reasons(transport: TcpTransport, count: int = 1) -> list[str]:
    await until(lambda: sum(entry.count for entry in transport.refusals()) >= count)
    return [entry.reason for entry in transport.refusals()]


def self_made(trusted: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A dialler's context with a certificate that no room made."""
    identity = Identity.generate()
    return tls_context(ssl.PROTOCOL_TLS_SERVER, identity, invite_certificate(identity.key), trusted)


@pytest.mark.parametrize(("secret", "room"), [(OTHER_SECRET, ROOM), (SECRET, "another-room")])
def test_another_secret_or_room_is_refused_and_both_sides_know_why(secret: str, room: str) -> None:
    async def scenario() -> None:
        ours, theirs = member(secret, room), member()
        async with listening(theirs) as listener:
            with pytest.raises(
                IdentityError, match="check that both machines have the same room name and secret"
            ) as caught:
                await ours.dial(listener.address, Purpose.GOSSIP)
            assert str(listener.address) in str(caught.value)
            assert await reasons(theirs) == [FOREIGN]
            assert theirs.refusals()[0].host == "127.0.0.1"

    run(scenario)


def test_an_open_room_and_a_secret_one_of_the_same_name_do_not_meet() -> None:
    async def scenario() -> None:
        theirs = member()
        credentials = Credentials.from_authority(Identity.generate(), RoomAuthority.open(ROOM))
        async with listening(theirs) as listener:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await tls_as_dialer(listener.address, credentials.dialer_context())
            assert await reasons(theirs) == [FOREIGN]

    run(scenario)


def test_a_dialler_that_checks_nothing_itself_is_refused_all_the_same() -> None:
    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await tls_as_dialer(listener.address, self_made())
            assert await reasons(theirs) == [FOREIGN]

    run(scenario)


def test_a_dialler_does_not_trust_an_acceptor_of_another_room() -> None:
    """The acceptor here lets everybody in, and so shows its certificate to a member of another room."""

    async def scenario() -> None:
        careless = standing(OTHER_SECRET)
        context = careless.acceptor_context()
        context.verify_mode = ssl.CERT_NONE

        async with acceptor(context) as address:
            with pytest.raises(IdentityError, match=FOREIGN):
                await member().dial(address, Purpose.GOSSIP)

    run(scenario)


def test_an_acceptor_that_leaves_before_its_answer_is_no_question_of_secrets() -> None:
    async def scenario() -> None:
        async with acceptor(standing().acceptor_context()) as address:
            with pytest.raises(LinkError, match="hung up during the handshake"):
                await member().dial(address, Purpose.GOSSIP)

    run(scenario)


def test_no_certificate_at_all_is_refused() -> None:
    async def scenario() -> None:
        theirs = member()
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        async with listening(theirs) as listener:
            with pytest.raises(OSError):  # noqa: PT011 - OpenSSL says `no suitable signature algorithm`
                await tls_as_dialer(listener.address, bare)
            assert await reasons(theirs)

    run(scenario)


def test_a_plain_tls_client_is_told_nothing() -> None:
    async def scenario() -> None:
        theirs = member()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        async with listening(theirs) as listener:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection(*listener.address, ssl=client)
            assert await reasons(theirs) == [GARBAGE]

    run(scenario)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100, b"SSH-2.0-x\r\n", bytes(range(256)) * 400]
)
def test_garbage_is_counted_as_another_protocol(garbage: bytes) -> None:
    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener, stranger(listener.address) as (reader, writer):
            writer.write(garbage)
            await heard(reader)
            assert await reasons(theirs) == [GARBAGE]

    run(scenario)


def test_who_comes_while_the_loop_is_ending_finds_the_port_closed_and_nobody_complains() -> None:
    """A program that fails ends its loop, which cancels all tasks, before it thinks of its store."""

    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener:
            supervisor = listener._supervisor  # type: ignore[attr-defined]
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*listener.address)
        assert theirs.refusals() == []

    run(scenario)


def test_a_stranger_that_hangs_up_is_counted() -> None:
    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener:
            async with stranger(listener.address):
                pass
            assert await reasons(theirs) == ["hung up during the handshake"]

    run(scenario)


def test_one_byte_at_a_time_does_not_hold_a_place() -> None:
    async def scenario() -> None:
        theirs = member(timeout_s=0.5)
        started = asyncio.get_running_loop().time()
        async with listening(theirs) as listener, stranger(listener.address) as (reader, writer):

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    for byte in b"\x16\x03\x03\x3f\xff" + b"\x02" * 100:
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.05)

            dripping = asyncio.create_task(drip())
            await heard(reader)
            assert asyncio.get_running_loop().time() - started < 1.5
            assert await reasons(theirs) == ["no handshake within 0.5 s"]
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)

    run(scenario)


def test_a_member_that_never_says_what_for_does_not_hold_a_place() -> None:
    async def scenario() -> None:
        theirs = member(timeout_s=0.3)
        async with listening(theirs) as listener:
            reader, writer = await tls_as_dialer(listener.address, standing().dialer_context())
            await heard(reader)
            writer.transport.abort()
            assert await reasons(theirs) == ["no handshake within 0.3 s"]

    run(scenario)


def test_one_that_ignores_our_alert_is_still_counted_as_foreign() -> None:
    async def scenario() -> None:
        theirs = member(timeout_s=0.3)
        async with listening(theirs) as listener, stranger(listener.address) as (reader, writer):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = self_made().wrap_bio(incoming, outgoing, server_side=True)
            incoming.write(await reader.read(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            writer.write(outgoing.read())
            await heard(reader)
            assert await reasons(theirs) == [FOREIGN]

    run(scenario)


@pytest.mark.parametrize("hosts", [1, 40])
def test_two_hundred_idle_connections_do_not_keep_a_member_out(hosts: int) -> None:
    async def scenario() -> None:
        theirs, ours = member(timeout_s=30), member()
        async with listening(theirs) as listener, contextlib.AsyncExitStack() as idle:
            for number in range(200):
                await idle.enter_async_context(stranger(listener.address, local=f"127.0.0.{1 + number % hosts}"))
                assert theirs.half_open <= (8 if hosts == 1 else 64)
            started = asyncio.get_running_loop().time()
            link = await soon_linked(ours, listener.address)
            assert asyncio.get_running_loop().time() - started < 2
            await link.send(b"in")
            assert await link.receive() == b"in"
            await link.aclose()
            assert await reasons(theirs, 100) == ["too many half-open connections"] * min(hosts, 64)

    run(scenario)


async def soon_linked(transport: TcpTransport, address: Address):  # type: ignore[no-untyped-def] # noqa: ANN201 - TcpLink
    async with asyncio.timeout(20):
        while True:
            try:
                return await transport.dial(address, Purpose.GOSSIP)
            except LinkError:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"nonsense", GARBAGE),
        (pack(["other", 1, "gossip"]), GARBAGE),
        (pack(["propagul", "1", "gossip"]), GARBAGE),
        (pack(["propagul", 1, "gossip", 2]), GARBAGE),
        (pack(["propagul", 1, "gossip", 1, b"short"]), GARBAGE),
        (pack_hello(Hello("dance")), "asked for a purpose that is not served here"),
        (pack(["propagul", 2, "gossip"]), "speaks newer protocol versions only: update this node"),
    ],
)
def test_a_first_frame_that_opens_nothing_is_counted_by_its_fault(frame: bytes, reason: str) -> None:
    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener:
            reader, writer = await tls_as_dialer(listener.address, standing().dialer_context())
            writer.write(encode_frame(frame))
            await heard(reader)
            writer.transport.abort()
            assert await reasons(theirs) == [reason]

    run(scenario)


def test_a_first_frame_over_4_kib_is_refused_at_its_header() -> None:
    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener:
            reader, writer = await tls_as_dialer(listener.address, standing().dialer_context())
            writer.write((4097).to_bytes(4))
            await heard(reader)
            writer.transport.abort()
            assert await reasons(theirs) == [GARBAGE]

    run(scenario)


# What a stranger can learn.


def hello_of(heard_bytes: bytes) -> bytes:
    """Return the one TLS record if the bytes are a ClientHello and nothing else."""
    assert heard_bytes[:1] == b"\x16"
    assert heard_bytes[5:6] == b"\x01", "a handshake record that is no ClientHello"
    length = int.from_bytes(heard_bytes[3:5])
    assert set(heard_bytes[5 + length : 6 + length]) <= {0x15}, "more than a ClientHello and an alert"
    assert len(heard_bytes) <= 5 + length + 7
    return heard_bytes[: 5 + length]


def shape(client_hello: bytes) -> bytes:
    """Return a ClientHello without its random parts: random, session id and the key share at its end."""
    return client_hello[:11] + client_hello[43:44] + client_hello[76:-32]


@pytest.mark.parametrize("opening", [b"", b"nonsense" * 50, "client hello"])
def test_a_prober_hears_a_client_hello_that_is_the_same_in_every_room(opening: bytes | str) -> None:
    if isinstance(opening, str):
        opening = a_client_hello()

    async def scenario() -> None:
        shapes = set()
        for secret, room in [(SECRET, ROOM), (OTHER_SECRET, "another-room-with-a-longer-name")]:
            credentials, theirs = standing(secret, room), member(secret, room, timeout_s=0.3)
            async with listening(theirs) as listener, stranger(listener.address) as (reader, writer):
                writer.write(opening)
                spoken = await heard(reader)
            shapes.add(shape(hello_of(spoken)))
            assert public_bytes(theirs.node) not in spoken
            assert room.encode() not in spoken
            assert credentials.room_tag.encode() not in spoken
        assert len(shapes) == 1

    run(scenario)


def a_client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_a_prober_that_answers_like_a_dialler_gets_an_alert_and_no_certificate() -> None:
    async def scenario() -> None:
        theirs = member()
        asking = self_made(trusted=standing().ca_pems)  # it asks for our certificate, as a dialler does
        async with listening(theirs) as listener, stranger(listener.address) as (reader, writer):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = asking.wrap_bio(incoming, outgoing, server_side=True)
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await handshake(tls, incoming, outgoing, reader, writer)
            with pytest.raises(ValueError, match="handshake not done"):
                tls.getpeercert(binary_form=True)

    run(scenario)


async def handshake(
    tls: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Do a handshake by hand until it is done or fails."""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
        else:
            return


def test_who_listens_on_the_wire_between_two_members_learns_no_key() -> None:
    async def scenario() -> None:
        ours, theirs, wire = member(), member(), bytearray()
        async with listening(theirs) as listener:
            target = listener.address

            async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                far_reader, far_writer = await asyncio.open_connection(*target)

                async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                    with contextlib.suppress(ConnectionError):
                        while chunk := await source.read(65536):
                            wire.extend(chunk)
                            sink.write(chunk)
                    sink.close()

                await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

            server = await asyncio.start_server(tap, *LOOPBACK)
            link = await ours.dial(LOOPBACK._replace(port=server.sockets[0].getsockname()[1]), Purpose.GOSSIP)
            await link.send(b"a canary in the clear")
            assert await link.receive() == b"a canary in the clear"
            await link.aclose()
            server.close()
        assert len(wire) > 1000
        for clear in (public_bytes(ours.node), public_bytes(theirs.node), b"propagul", b"gossip", b"canary"):
            assert clear not in wire
        assert node_id(public_bytes(ours.node)) == ours.node

    run(scenario)
