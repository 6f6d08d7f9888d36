"""Links over a private Unix socket: frames in order, both ends named, nobody else's process, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import stat
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from propagul import _system
from propagul.errors import ClosedError, IdentityError, LinkError, LocalProtocolError
from propagul.link import FRAME_BYTES_MAX, Address, NodeId, Purpose
from propagul.link import local as local_module
from propagul.link.local import LocalTransport, is_local, process_node
from propagul.link.messages import pack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from propagul.link import Link
    from propagul.link.local import LocalListener

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")

A, B = process_node(NodeId("identity"), "a" * 16), process_node(NodeId("identity"), "b" * 16)


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a scenario; no task may outlive it."""

    async def main() -> None:
        async with asyncio.timeout(20):
            await scenario()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.002)

    asyncio.run(main())


async def echo(link: Link) -> None:
    while True:
        await link.send(await link.receive())


@pytest.fixture
def private(tmp_path: Path) -> Path:
    directory = tmp_path / "sock"
    directory.mkdir(mode=0o700)
    return directory


@asynccontextmanager
async def listening(path: Path, node: NodeId = B) -> AsyncIterator[LocalListener]:
    listener = await LocalTransport(node).listen(Address(str(path), 0), {Purpose.GOSSIP: echo})
    try:
        yield listener
    finally:
        await listener.aclose()


def dial(path: Path, purpose: Purpose = Purpose.GOSSIP, *, expect: NodeId | None = B) -> Coroutine[None, None, Link]:
    return LocalTransport(A).dial(Address(str(path), 0), purpose, expect=expect)


def test_frames_arrive_whole_and_in_order_and_both_ends_know_each_other(private: Path) -> None:
    async def scenario() -> None:
        peers = []

        async def note(link: Link) -> None:
            peers.append((link.peer, link.purpose, link.dialed))
            await echo(link)

        listener = await LocalTransport(B).listen(Address(str(private / "b"), 0), {Purpose.GOSSIP: note})
        link = await dial(private / "b")
        frames = [b"", b"x", os.urandom(FRAME_BYTES_MAX), *(bytes([n]) * n for n in range(100))]
        for frame in frames:
            await link.send(frame)
            assert await link.receive() == frame
        assert (link.peer, link.purpose, link.dialed) == (B, Purpose.GOSSIP, True)
        assert peers == [(A, Purpose.GOSSIP, False)]
        assert link.instance == b""
        await link.aclose()
        await link.aclose()
        await listener.aclose()

    run(scenario)


def test_nodes_of_processes_are_told_from_members() -> None:
    assert is_local(A)
    assert not is_local(NodeId("identity"))
    assert A < B


def test_a_sender_waits_for_a_receiver_that_does_not_read(private: Path) -> None:
    async def scenario() -> None:
        over = asyncio.Event()

        async def deaf(_: Link) -> None:
            await over.wait()

        listener = await LocalTransport(B).listen(Address(str(private / "b"), 0), {Purpose.GOSSIP: deaf})
        link = await dial(private / "b")
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.3):
                    await link.send(bytes(FRAME_BYTES_MAX))
                sent += 1
        assert 0 < sent * FRAME_BYTES_MAX < 4 * 1024 * 1024
        link.abort()
        with pytest.raises(ClosedError):
            await link.send(b"x")
        over.set()
        await listener.aclose()

    run(scenario)


def test_a_frame_over_the_limit_is_refused_at_home(private: Path) -> None:
    async def scenario() -> None:
        async with listening(private / "b"):
            link = await dial(private / "b")
            with pytest.raises(LocalProtocolError, match="the limit is 65536"):
                await link.send(bytes(FRAME_BYTES_MAX + 1))
            await link.aclose()

    run(scenario)


def test_a_peer_that_vanishes_closes_the_link(private: Path) -> None:
    async def scenario() -> None:
        async def vanish(link: Link) -> None:
            await link.receive()
            link.abort()

        listener = await LocalTransport(B).listen(Address(str(private / "b"), 0), {Purpose.GOSSIP: vanish})
        link = await dial(private / "b")
        await link.send(b"x")
        with pytest.raises(ClosedError):
            await link.receive()
        link.abort()
        await listener.aclose()

    run(scenario)


def test_the_socket_is_private_and_goes_with_its_listener(private: Path) -> None:
    async def scenario() -> None:
        path = private / "b"
        with socket.socket(socket.AF_UNIX) as dead:  # what a killed process leaves
            dead.bind(str(path))
        async with listening(path):
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            await (await dial(path)).aclose()
        assert not path.exists()
        with pytest.raises(LinkError, match="no process listens at"):
            await dial(path)

    run(scenario)


def test_no_socket_is_made_where_others_could_replace_it(private: Path) -> None:
    private.chmod(0o755)

    async def scenario() -> None:
        with pytest.raises(LinkError, match="not private"):
            await LocalTransport(B).listen(Address(str(private / "b"), 0), {})
        assert not (private / "b").exists()

    run(scenario)


def test_another_process_than_expected_is_refused(private: Path) -> None:
    async def scenario() -> None:
        async with listening(private / "b"):
            with pytest.raises(IdentityError, match="expected was"):
                await dial(private / "b", expect=process_node(NodeId("another"), "b" * 16))

    run(scenario)


@pytest.mark.parametrize("refuser", [1, 2])
def test_another_users_process_is_refused_by_either_end(
    private: Path, monkeypatch: pytest.MonkeyPatch, refuser: int
) -> None:
    """The kernel's word is taken from a stand-in: a test has one user."""

    async def scenario() -> None:
        async with listening(private / "b"):
            asked: list[bool] = []

            def says(*_: object) -> bool:
                asked.append(True)
                return len(asked) != refuser

            monkeypatch.setattr(_system, "is_same_user", says)
            with pytest.raises((IdentityError, LinkError)):
                await dial(private / "b")
            asked[:] = [True, True]
            await (await dial(private / "b")).aclose()

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED")
def test_the_kernel_says_whose_process_a_peer_is(private: Path) -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert _system.is_same_user(one, private)
        foreign = _Says(os.geteuid() + 1)
        assert not _system.is_same_user(foreign, private)  # type: ignore[arg-type]  # as much of a socket as is asked
        assert _system.is_same_user(_Says(0), private)  # type: ignore[arg-type]  # root reads it all anyway


class _Says:
    """A connection to a process of some user."""

    def __init__(self, user: int) -> None:
        self._user = user

    def getsockopt(self, *_: int) -> bytes:
        return (1).to_bytes(4, sys.byteorder) + self._user.to_bytes(4, sys.byteorder) + bytes(4)


def test_a_purpose_without_a_handler_opens_no_link(private: Path) -> None:
    async def scenario() -> None:
        async with listening(private / "b"):
            with pytest.raises(LinkError, match="opened no link for tunnel"):
                await dial(private / "b", Purpose.TUNNEL)

    run(scenario)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xff" * 4,
        (5000).to_bytes(4, "big"),
        (3).to_bytes(4, "big") + b"abc",
        *(
            len(hello).to_bytes(4, "big") + hello
            for hello in (pack(["propagul", 2, "gossip", A]), pack(["propagul", 1, "gossip", "no process"]))
        ),
    ],
)
def test_what_is_no_hello_gets_no_answer(private: Path, first: bytes) -> None:
    async def scenario() -> None:
        async with listening(private / "b"):
            reader, writer = await asyncio.open_unix_connection(private / "b")
            writer.write(first)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()

    run(scenario)


def test_who_says_nothing_is_closed_after_a_while_and_with_the_listener(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with listening(private / "b"):
            monkeypatch.setattr(local_module, "HANDSHAKE_TIMEOUT_S", 0.1)
            reader, writer = await asyncio.open_unix_connection(private / "b")
            assert await reader.read() == b""
            writer.close()
            monkeypatch.setattr(local_module, "HANDSHAKE_TIMEOUT_S", 60)
            reader, writer = await asyncio.open_unix_connection(private / "b")
            await asyncio.sleep(0.05)  # until it was accepted; harmless if not
        assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_a_listener_that_does_not_answer_is_given_up(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(local_module, "HANDSHAKE_TIMEOUT_S", 0.1)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(private / "b"))
            silent.listen()
            with pytest.raises(LinkError, match="did not answer in"):
                await dial(private / "b")

    run(scenario)


# --- ending in the middle of something --------------------------------------------------------------------------------


def knock(path: Path, times: int) -> list[socket.socket]:
    """Connections that wait in the backlog, each with a good hello; the loop has seen none of them yet."""
    hello = pack(["propagul", 1, "gossip", A])
    knocking = [socket.socket(socket.AF_UNIX) for _ in range(times)]
    for connection in knocking:
        connection.connect(str(path))
        connection.sendall(len(hello).to_bytes(4, "big") + hello)
    return knocking


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("ended", [True, False])
def test_whoever_knocks_in_the_moment_of_the_end_is_let_go_of(private: Path, steps: int, ended: bool) -> None:  # noqa: FBT001
    """At every step of accepting: a socket or a task that is left would be an error of the next collection."""

    async def scenario() -> None:
        listener = await LocalTransport(B).listen(Address(str(private / "b"), 0), {Purpose.GOSSIP: echo})
        knocking.extend(knock(private / "b", 5))
        for _ in range(steps):
            await asyncio.sleep(0)
        if ended:
            async with asyncio.timeout(20):
                await listener.end()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    knocking: list[socket.socket] = []
    asyncio.run(scenario())
    gc.collect()
    assert not (private / "b").exists()
    for connection in knocking:
        connection.close()


@pytest.mark.parametrize("steps", range(4))
def test_a_listener_cancelled_while_it_opens_leaves_no_socket(private: Path, steps: int) -> None:
    async def scenario() -> None:
        opening = asyncio.ensure_future(LocalTransport(B).listen(Address(str(private / "b"), 0), {}))
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await opening).end()

    run(scenario)
    gc.collect()
    assert list(private.iterdir()) == []
