"""What a connection leaves behind when it is over: nothing that waits for the collector.

A TLS connection holds some 300 KiB that the collector does not count, so it would not come for a long time in a process
with many objects: strangers who come and go could fill the memory.
"""

from __future__ import annotations

import contextlib
import gc
import ssl
from typing import TYPE_CHECKING

import pytest

from propagul.errors import IdentityError, LinkError
from propagul.link import Address, Identity, Purpose, encode_frame
from propagul.link.certificates import invite_certificate
from propagul.link.credentials import tls_context
from propagul.link.messages import Hello, pack_hello
from propagul.link.stream import FrameStream
from tests.link.world import (
    OTHER_SECRET,
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
    from collections.abc import AsyncIterator, Awaitable, Callable

    from propagul.link import TcpTransport

    Guest = Callable[[Address], Awaitable[None]]


async def hangs_up(address: Address) -> None:
    async with stranger(address):
        pass


async def talks_nonsense(address: Address) -> None:
    async with stranger(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await heard(reader)


async def says_nothing(address: Address) -> None:
    async with stranger(address) as (reader, _):
        await heard(reader)


async def is_foreign(address: Address) -> None:
    with contextlib.suppress(IdentityError):
        await member(OTHER_SECRET).dial(address, Purpose.GOSSIP)


async def checks_nothing(address: Address) -> None:
    identity = Identity.generate()
    context = tls_context(ssl.PROTOCOL_TLS_SERVER, identity, invite_certificate(identity.key), ())
    with contextlib.suppress(OSError):
        await tls_as_dialer(address, context)


async def speaks_of_another_purpose(address: Address) -> None:
    reader, writer = await tls_as_dialer(address, standing().dialer_context())
    writer.write(encode_frame(pack_hello(Hello("dance"))))
    await heard(reader)
    writer.transport.abort()


async def announces_too_much(address: Address) -> None:
    reader, writer = await tls_as_dialer(address, standing().dialer_context())
    writer.write(b"\xff\xff\xff\xff")
    await heard(reader)
    writer.transport.abort()


async def is_a_member(address: Address) -> None:
    link = await member().dial(address, Purpose.GOSSIP)
    await link.send(b"hello")
    await link.receive()
    await link.aclose()


async def is_a_member_that_breaks_off(address: Address) -> None:
    link = await member().dial(address, Purpose.GOSSIP)
    await link.send(b"hello")
    link.abort()


GUESTS: list[Guest] = [
    hangs_up,
    talks_nonsense,
    says_nothing,
    is_foreign,
    checks_nothing,
    speaks_of_another_purpose,
    announces_too_much,
    is_a_member,
    is_a_member_that_breaks_off,
]


@contextlib.asynccontextmanager
async def uncollected() -> AsyncIterator[None]:
    """The collector stays away; when the block ends none of its connections may be left."""
    gc.collect()
    gc.disable()
    before = left()  # what other tests have left is not this one's
    try:
        yield
        await until(lambda: not [found for found in left() if found not in before])
    finally:
        gc.enable()


def left() -> list[FrameStream]:
    return [found for found in gc.get_objects() if type(found) is FrameStream]


@pytest.mark.long
@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.__name__)
def test_an_accepted_connection_is_gone_from_memory_when_it_is_over(guest: Guest) -> None:
    async def scenario() -> None:
        theirs = member(timeout_s=0.3 if guest is says_nothing else 20.0)  # only it waits for that; others may be slow
        async with listening(theirs) as listener:
            await guest(listener.address)
            async with uncollected():
                for _ in range(3):
                    await guest(listener.address)
                await until(lambda: is_idle(theirs))

    run(scenario)


def is_idle(transport: TcpTransport) -> bool:
    return not transport.half_open


@pytest.mark.parametrize("secret", [OTHER_SECRET, None], ids=["foreign", "nobody"])
def test_a_dial_that_fails_leaves_nothing(secret: str | None) -> None:
    async def scenario() -> None:
        ours = member()
        async with acceptor(standing(secret or OTHER_SECRET).acceptor_context()) as address:
            async with uncollected():
                for _ in range(3):
                    with contextlib.suppress(IdentityError, LinkError):
                        await ours.dial(Address(address.host, 1) if secret is None else address, Purpose.GOSSIP)

    run(scenario)
