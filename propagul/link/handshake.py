"""From a connection to a link, on both sides: TLS, then one frame each.

The dialler plays the TLS server, is verified first, and sends the hello. The acceptor answers `ok`, or a refusal to
one that it knows. Foreign exceptions become ours here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, IdentityError, LinkError, PeerProtocolError
from propagul.link.messages import Answer, Hello, check_answer, pack_hello
from propagul.link.stream import FrameStream
from propagul.link.tls import Cause, cause_of

if TYPE_CHECKING:
    import ssl

    from propagul.link.base import Address, Purpose


class UnknownCertificateError(IdentityError):
    """We did not take the certificate that the acceptor showed; it may have another one."""


class CertificateRefusedError(IdentityError):
    """The acceptor did not take the certificate that we showed; we may have another one."""


async def open_stream(address: Address, context: ssl.SSLContext, timeout_s: float) -> FrameStream:
    """Connect and do the TLS handshake as the dialler. The caller sends the hello by `ask` and owns the stream.

    Raises:
        LinkError: Nobody answers there, in time, with this protocol.
        IdentityError: One end did not accept the other's certificate.
    """
    stream = await connect(address, timeout_s)
    await secure(stream, address, context, timeout_s)
    return stream


async def secure(stream: FrameStream, address: Address, context: ssl.SSLContext, timeout_s: float) -> None:
    """Do the TLS handshake as the dialler on a connection that is there; abort the stream if it fails.

    Raises:
        LinkError: The other end does not answer, in time, with this protocol.
        IdentityError: One end did not accept the other's certificate.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await stream.start_tls(context, server_side=True, timeout_s=2 * timeout_s)
    except (TimeoutError, OSError) as error:
        if stream.verdict.is_foreign:
            raise UnknownCertificateError(_foreign_sentence(address)) from error
        if isinstance(error, TimeoutError):
            raise LinkError(f"{address} took the connection but began no link in {timeout_s:g} s") from error
        raise _handshake_error(address, cause_of(error)) from error
    finally:
        if not stream.encrypted:
            stream.abort()


async def ask(stream: FrameStream, address: Address, wanted: Hello | Purpose, timeout_s: float) -> Answer:
    """Send the hello and wait for the answer that opens the link; abort the stream if none comes.

    Args:
        stream: The encrypted connection.
        address: What to call the other end.
        wanted: The hello, or only the purpose: then nothing is said of us.
        timeout_s: Longest wait.

    Raises:
        LinkError: The acceptor refused; the message says why.
        IdentityError: It did not accept our certificate, or who we are.
    """
    hello = wanted if isinstance(wanted, Hello) else Hello(wanted)
    opened = False
    try:
        async with asyncio.timeout(timeout_s):
            await stream.send(pack_hello(hello))
            answer = check_answer(await stream.receive(), address, hello.purpose, hello.versions)
        stream.allow_long_frames()
        opened = True
    except TimeoutError as error:
        raise LinkError(f"{address} did not answer in {timeout_s:g} s") from error
    except ClosedError as error:
        raise _handshake_error(address, stream.failure or Cause.HUNG_UP) from error
    except PeerProtocolError as error:
        raise LinkError(f"{address} does not speak this protocol") from error
    finally:
        if not opened:
            stream.abort()
    return answer


async def connect(address: Address, timeout_s: float) -> FrameStream:
    """Try the addresses of a host one after the other, each for its share of the time that is left.

    Not the loop's happy eyeballs: cancelled at the wrong instant, those leave a connected socket open.

    Raises:
        LinkError: Nobody answers there in time.
    """
    loop, failure = asyncio.get_running_loop(), LinkError(f"the name {address.host} is not known here")
    deadline = loop.time() + timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise LinkError(f"the name {address.host} was not resolved in {timeout_s:g} s") from None
    except (OSError, UnicodeError):  # a name too long for DNS is a UnicodeError
        found = []
    for left, (*_, place) in zip(range(len(found), 0, -1), found, strict=True):
        try:
            async with asyncio.timeout((deadline - loop.time()) / left):
                _, stream = await loop.create_connection(FrameStream, _scoped(place), int(place[1]))
        except TimeoutError:
            failure = LinkError(f"{address} did not answer in {timeout_s:g} s: is it on, is the port open?")
        except OSError as error:
            failure = LinkError(_connect_sentence(address, error))
        else:
            return stream
    raise failure


def _scoped(place: tuple[object, ...]) -> str:
    """Return the numeric host of a socket address, with the interface of a link-local one."""
    match place:
        case [host, _, _, int(scope)] if scope:
            return f"{host}%{scope}"
        case _:
            return str(place[0])


def _connect_sentence(address: Address, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {address}"
    return f"{address} cannot be reached: {errno.errorcode.get(error.errno or 0, 'connection failed')}"


def _handshake_error(address: Address, cause: Cause) -> IdentityError | LinkError:
    match cause:
        case Cause.FOREIGN:
            return CertificateRefusedError(_foreign_sentence(address))
        case Cause.GARBAGE:
            return LinkError(f"{address} does not speak this protocol")
        case Cause.HUNG_UP:
            return LinkError(f"{address} hung up during the handshake")


def _foreign_sentence(address: Address) -> str:
    return f"{address} belongs to {Cause.FOREIGN}: check that both machines have the same room name and secret"
