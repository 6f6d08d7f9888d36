"""The dialler's half of the handshake between members: who answers, whether it is the right one, and what for.

The same for every way out: a socket of ours, or a stream that somebody relays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.errors import IdentityError, LinkError
from propagul.link.deeds import Ended, read_deed
from propagul.link.handshake import ask, secure
from propagul.link.messages import TWIN, TWIN_REMEDY, Hello, SecretChangedError
from propagul.link.pins import changed
from propagul.link.tcp_link import TcpLink

if TYPE_CHECKING:
    from propagul.link.base import Address, NodeId, Purpose
    from propagul.link.messages import Answer
    from propagul.link.stream import FrameStream
    from propagul.link.terms import Terms


async def approach(
    terms: Terms,
    stream: FrameStream,
    address: Address,
    purpose: Purpose,
    *,
    expect: NodeId | None,
    pinned: NodeId | None = None,
    nonce: bytes = b"",
    choice: int = 0,
) -> TcpLink:
    """Open a link over a connection that is there; abort the connection if that fails.

    Args:
        terms: On which.
        stream: The connection.
        address: What to call the other end.
        purpose: What for.
        expect: Who it has to be, if not anybody.
        pinned: Who answered there first, if that counts.
        nonce: Of the tunnel that the other end waits for.
        choice: Which of our certificates to show.

    Raises:
        LinkError, IdentityError: As for `propagul.link.tcp.TcpTransport.dial`.
    """
    await secure(stream, address, terms.credentials.dialer_context(choice), terms.timeout_s)
    try:
        peer = _recognise(terms, stream, address, expect, pinned)
    except IdentityError:
        stream.abort()
        raise
    terms.opened.add(stream, peer)
    greeting = Hello(purpose, terms.versions, terms.instance, nonce)
    answer = await _greet(terms, stream, address, greeting, own=peer == terms.credentials.node)
    terms.note_instance(peer, greeting._replace(instance=answer.instance), address.host)
    return TcpLink(stream, peer=peer, purpose=purpose, dialed=True, version=answer.version, instance=answer.instance)


def _recognise(
    terms: Terms, stream: FrameStream, address: Address, expect: NodeId | None, pinned: NodeId | None
) -> NodeId:
    """Who answered, if it is one to say anything to."""
    try:
        peer = terms.credentials.member(stream.peer_certificate() or b"")
    except IdentityError as error:
        raise IdentityError(f"{address} is {error}: it is not linked with") from error
    if peer == terms.credentials.node:
        return peer  # whether it is ourselves or a twin, the acceptor tells
    if pinned not in (None, peer) and expect in (None, pinned):
        assert pinned is not None
        raise IdentityError(changed(address, pinned, peer))
    if expect is not None and peer != expect:
        raise IdentityError(f"{address} is {peer}, expected was {expect}")
    if not terms.pins.admits(peer):
        raise IdentityError(f"{address} is {peer}, which is not on this node's list of pins")
    return peer


def explained(terms: Terms, error: IdentityError, address: Address) -> IdentityError:
    """What is known for sure of a refusal: that the secret was changed, if its proof holds."""
    if not isinstance(error, SecretChangedError) or _is_proven(terms, error.proof):
        return error
    return IdentityError(f"{address} says without proof that this room's secret was changed")


def _is_proven(terms: Terms, proof: bytes) -> bool:
    try:
        deed = read_deed(proof)
    except IdentityError:
        return False
    return isinstance(deed, Ended) and deed.tag in terms.credentials.ring.certificates


async def _greet(terms: Terms, stream: FrameStream, address: Address, hello: Hello, *, own: bool) -> Answer:
    """Say what we want; `own` if whoever answers has our identity, which opens no link."""
    try:
        answer = await ask(stream, address, hello, terms.timeout_s)
    except IdentityError:
        if own:
            terms.count(f"{TWIN}: {TWIN_REMEDY}", address.host)
        raise
    if own:  # it did not look at our instance
        stream.abort()
        raise LinkError(f"{address} is this node itself, or a node that runs with a copy of its identity")
    return answer
