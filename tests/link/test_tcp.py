from __future__ import annotations

import asyncio
import socket

import pytest

from propagul.errors import ClosedError, IdentityError, LinkError, LocalProtocolError, PeerProtocolError
from propagul.link import FRAME_BYTES_MAX, Address, Identity, Link, Purpose
from propagul.link.tcp_link import TcpLink
from tests.link.world import LOOPBACK, echo, heard, listening, member, run, until


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_two_members_link_and_exchange_frames_both_ways(host: str) -> None:
    async def scenario() -> None:
        ours, theirs, met = member(), member(), list[Link]()

        async def note(link: Link) -> None:
            met.append(link)
            await echo(link)

        async with listening(theirs, {Purpose.GOSSIP: note}, Address(host, 0)) as listener:
            link = await ours.dial(Address(host, listener.address.port), Purpose.GOSSIP, expect=theirs.node)
            for frame in (b"", b"a", b"x" * FRAME_BYTES_MAX):
                await link.send(frame)
                assert await link.receive() == frame
            assert (link.peer, link.purpose, link.dialed) == (theirs.node, Purpose.GOSSIP, True)
            assert (met[0].peer, met[0].purpose, met[0].dialed) == (ours.node, Purpose.GOSSIP, False)
            assert link.remote.port == listener.address.port
            await link.aclose()
        assert ours.refusals() == theirs.refusals() == []

    run(scenario)


def test_a_handler_that_returns_closes_its_link_after_what_it_sent() -> None:
    frames = [bytes([number]) * FRAME_BYTES_MAX for number in range(40)]

    async def speak_and_leave(link: Link) -> None:
        for frame in frames:
            await link.send(frame)

    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs, {Purpose.GOSSIP: speak_and_leave}) as listener:
            link = await ours.dial(listener.address, Purpose.GOSSIP)
            assert [await link.receive() for _ in frames] == frames
            with pytest.raises(ClosedError):
                await link.receive()
            await link.aclose()

    run(scenario)


def test_what_was_queued_arrives_although_the_peer_goes_on_talking() -> None:
    async def scenario() -> None:
        ours, theirs, got = member(), member(), list[bytes]()

        async def talk_and_count(link: Link) -> None:
            async def talk() -> None:
                while True:
                    await link.send(b"t" * 1000)

            talker = asyncio.create_task(talk())
            try:
                while True:
                    got.append(await link.receive())
            except ClosedError:
                pass
            talker.cancel()
            await asyncio.gather(talker, return_exceptions=True)

        async with listening(theirs, {Purpose.GOSSIP: talk_and_count}) as listener:
            link = await ours.dial(listener.address, Purpose.GOSSIP)
            for _ in range(50):
                await link.send(b"q" * FRAME_BYTES_MAX)
            await link.aclose()
            await until(lambda: len(got) == 50)

    run(scenario)


def test_a_frame_over_the_limit_is_refused_before_it_is_sent() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            link = await ours.dial(listener.address, Purpose.GOSSIP)
            with pytest.raises(LocalProtocolError, match="65537 bytes"):
                await link.send(b"x" * (FRAME_BYTES_MAX + 1))
            await link.send(b"still open")
            assert await link.receive() == b"still open"
            await link.aclose()

    run(scenario)


def test_a_peer_that_announces_too_much_loses_this_link_and_no_other() -> None:
    async def scenario() -> None:
        ours, theirs, errors = member(), member(), list[Exception]()

        async def watch(link: Link) -> None:
            try:
                await echo(link)
            except PeerProtocolError as error:
                errors.append(error)
                raise

        async with listening(theirs, {Purpose.GOSSIP: watch}) as listener:
            good = await ours.dial(listener.address, Purpose.GOSSIP)
            bad = await ours.dial(listener.address, Purpose.GOSSIP)
            bad._stream._transport.write(b"\x7f\xff\xff\xff" + b"x" * 100)
            with pytest.raises(ClosedError):
                await bad.receive()
            assert len(errors) == 1
            await good.send(b"well")
            assert await good.receive() == b"well"
            await good.aclose()

    run(scenario)


def test_a_reader_that_does_not_read_stops_the_writer_at_bounded_memory() -> None:
    frame, accepted, release, order = b"x" * (FRAME_BYTES_MAX - 4), list[Link](), asyncio.Event(), list[int]()

    async def sleep_then_read(link: Link) -> None:
        accepted.append(link)
        await release.wait()
        while True:
            order.append(int.from_bytes((await link.receive())[:4]))

    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs, {Purpose.GOSSIP: sleep_then_read}) as listener:
            link, sent = await ours.dial(listener.address, Purpose.GOSSIP), 0
            try:
                while sent < 2000:
                    async with asyncio.timeout(0.5):
                        await link.send(sent.to_bytes(4) + frame)
                        sent += 1
            except TimeoutError:
                sent += 1  # it was queued; the wait was for room
            assert sent < 1000, "the writer was never stopped"
            held = link._stream.unsent_bytes
            assert held < 6 * FRAME_BYTES_MAX
            assert isinstance(accepted[0], TcpLink)
            assert accepted[0]._stream._decoder.buffered < 8 * FRAME_BYTES_MAX
            for _ in range(20):  # one that does not wait for long, again and again, adds nothing
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await link.send(frame)
            assert link._stream.unsent_bytes <= held
            release.set()
            await until(lambda: len(order) == sent)
            assert order == list(range(sent))
            await link.aclose()

    run(scenario)


def test_each_purpose_has_its_handler_and_others_are_refused() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs, {Purpose.GOSSIP: echo}) as listener:
            with pytest.raises(LinkError, match="serves no links for tunnel"):
                await ours.dial(listener.address, Purpose.TUNNEL)
            await until(lambda: bool(theirs.refusals()))
        assert "purpose" in theirs.refusals()[0].reason

    run(scenario)


def test_closing_is_idempotent_and_wakes_everybody() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            for close_by in ("aclose", "abort"):
                link = await ours.dial(listener.address, Purpose.GOSSIP)
                waiting = asyncio.create_task(link.receive())
                await asyncio.sleep(0)
                if close_by == "abort":
                    link.abort()
                    link.abort()
                await asyncio.gather(link.aclose(), link.aclose())
                await link.aclose()
                with pytest.raises(ClosedError):
                    await waiting
                with pytest.raises(ClosedError):
                    await link.send(b"x")

    run(scenario)


def test_open_links_outlive_their_listener() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            link = await ours.dial(listener.address, Purpose.GOSSIP)
        await listener.aclose()
        with pytest.raises(LinkError, match="nobody listens"):
            await ours.dial(listener.address, Purpose.GOSSIP)
        await link.send(b"still here")
        assert await link.receive() == b"still here"
        await link.aclose()

    run(scenario)


def test_a_closing_listener_aborts_who_has_no_link_yet() -> None:
    async def scenario() -> None:
        theirs = member()
        async with listening(theirs) as listener:
            reader, writer = await asyncio.open_connection(*listener.address)
            await until(lambda: theirs.half_open == 1)
            closing = asyncio.get_running_loop().time()
        assert theirs.half_open == 0
        assert asyncio.get_running_loop().time() - closing < 1
        assert theirs.refusals() == []
        await heard(reader)
        writer.transport.abort()

    run(scenario)


def test_a_handler_that_fails_ends_its_own_link_only(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(link: Link) -> None:
        raise ValueError((await link.receive()).decode())

    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs, {Purpose.TUNNEL: fail, Purpose.GOSSIP: echo}) as listener:
            good = await ours.dial(listener.address, Purpose.GOSSIP)
            bad = await ours.dial(listener.address, Purpose.TUNNEL)
            await bad.send(b"the text of a prompt")
            with pytest.raises(ClosedError):
                await bad.receive()
            await good.send(b"well")
            assert await good.receive() == b"well"
            await good.aclose()

    run(scenario)
    assert "link.handler_failed purpose=tunnel error=ValueError" in caplog.text
    assert "prompt" not in caplog.text


def test_a_taken_port_is_named() -> None:
    async def scenario() -> None:
        async with listening(member()) as listener:
            with pytest.raises(LinkError, match=f"port {listener.address.port} .* is taken"):
                await member().listen(listener.address, {Purpose.GOSSIP: echo})
        with pytest.raises(LinkError, match=r"192\.0\.2\.1 is not an address of this machine"):
            await member().listen(Address("192.0.2.1", 0), {Purpose.GOSSIP: echo})

    run(scenario)


def test_a_node_that_dials_itself_is_told_so() -> None:
    async def scenario() -> None:
        ours = member()
        async with listening(ours) as listener:
            with pytest.raises(LinkError, match="this node itself"):
                await ours.dial(listener.address, Purpose.GOSSIP)
            await until(lambda: ours.half_open == 0)
        assert ours.refusals() == []

    run(scenario)


def test_another_node_than_expected_is_refused() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            with pytest.raises(IdentityError, match=theirs.node):
                await ours.dial(listener.address, Purpose.GOSSIP, expect=Identity.generate().node)

    run(scenario)


def test_a_closed_port_and_a_silent_one_are_told_apart() -> None:
    async def scenario() -> None:
        ours = member(timeout_s=0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = Address("127.0.0.1", silent.getsockname()[1])
            with pytest.raises(LinkError, match=r"took the connection but began no link in 0\.3 s"):
                await ours.dial(address, Purpose.GOSSIP)
        with pytest.raises(LinkError, match="nobody listens"):
            await ours.dial(address, Purpose.GOSSIP)

    run(scenario)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, ".."])
def test_a_name_nobody_knows_is_said_so(host: str) -> None:
    async def scenario() -> None:
        with pytest.raises(LinkError, match="is not known here"):
            await member().dial(Address(host, 1), Purpose.GOSSIP)

    run(scenario)


@pytest.mark.parametrize(
    ("banner", "sentence"), [(b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak this protocol"), (b"", "hung up")]
)
def test_a_port_of_another_program_is_told_apart_from_another_secret(banner: bytes, sentence: str) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(banner)
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(greet, *LOOPBACK)
        with pytest.raises(LinkError, match=sentence):
            await member().dial(Address(*server.sockets[0].getsockname()[:2]), Purpose.GOSSIP)
        server.close()

    run(scenario)


def test_a_cancelled_dial_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        ours = member()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            dial = asyncio.create_task(ours.dial(Address("127.0.0.1", silent.getsockname()[1]), Purpose.GOSSIP))
            connection, _ = await asyncio.to_thread(silent.accept)
            with connection:
                dial.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await dial
                connection.settimeout(20)
                assert await asyncio.to_thread(connection.recv, 1) == b""

    run(scenario)


def test_a_vanished_peer_is_noticed_by_keepalive() -> None:
    async def scenario() -> None:
        ours, theirs = member(), member()
        async with listening(theirs) as listener:
            link = await ours.dial(listener.address, Purpose.GOSSIP)
            connection = link._stream._transport.get_extra_info("socket")
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
                assert [connection.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [5, 2, 3]
            await link.aclose()

    run(scenario)
