"""What a connection has to say before it is a link: the acceptor's half of the handshake, and the count of who failed.

The same for every way in: a port, or a stream that somebody relays. Every failure ends here, in a refusal that is
counted; what a stranger is told is an alert of TLS, and what a member is told is a code.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, NoReturn

from propagul.errors import ClosedError, IdentityError, PeerProtocolError
from propagul.link.base import FIRST_FRAME_BYTES_MAX, NodeId, Purpose
from propagul.link.certificates import holder, parse_certificate
from propagul.link.credentials import Standing
from propagul.link.messages import TWIN, TWIN_REMEDY, Hello, RefusalCode, pack_ok, pack_refusal, unpack_hello
from propagul.link.tcp_link import TcpLink
from propagul.link.tls import Cause, cause_of

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from propagul.link.awaited import AwaitedTunnel
    from propagul.link.messages import Versions
    from propagul.link.stream import FrameStream
    from propagul.link.terms import Terms

_log = logging.getLogger("propagul.link")

_OBJECTIONS: dict[RefusalCode, str | None] = {
    RefusalCode.VERSION: None,  # depends on whose versions are older
    RefusalCode.PURPOSE: "asked for a purpose that is not served here",
    RefusalCode.INVITE: "an invite used for more than joining, or joining without an invite",
    RefusalCode.PINS: "a member that is not on this node's list of pins",
    RefusalCode.NONCE: "dialled for a tunnel that nobody here waits for",
    RefusalCode.ITSELF: "",  # our own dialler, which says so itself
    RefusalCode.TWIN: f"{TWIN}: {TWIN_REMEDY}",
}
_PROOF_BYTES_MAX = FIRST_FRAME_BYTES_MAX - 256
"""A longer proof, after some twenty changes of the secret, would not fit into the answer."""


class _TurnedAwayError(Exception):
    """One connection that becomes no link. An empty reason is not counted."""


class _RefusedError(_TurnedAwayError):
    """It was told why, which has to reach it."""


async def welcome(terms: Terms, stream: FrameStream, purposes: Container[str]) -> TcpLink | None:
    """Turn a connection into a link for one of these purposes.

    None if it became none, which was counted, or if it was awaited and now belongs to who waited for it.
    """
    link, awaited, reason, told = None, None, "", False
    try:
        async with asyncio.timeout(terms.timeout_s):
            link, awaited = await _handshake(terms, stream, purposes)
    except _TurnedAwayError as error:
        reason, told = str(error), isinstance(error, _RefusedError)
    except TimeoutError:
        late = f"no handshake within {terms.timeout_s:g} s"
        reason = late if not stream.verdict.is_foreign else Cause.FOREIGN
    except PeerProtocolError:
        reason = Cause.GARBAGE
    except (OSError, ClosedError) as error:
        reason = cause_of(error) if isinstance(error, OSError) else stream.failure or Cause.HUNG_UP
    except Exception as error:  # noqa: BLE001 - supervisor: one stranger must not end the listener
        _log.error("link.welcome_failed error=%s", type(error).__name__)
    finally:
        if link is None and not told:
            stream.abort()
    if reason and not stream.evicted:
        terms.count(reason, stream.remote.host)
    if told:  # counted first: when the peer knows, so does whoever asks here, however slowly it leaves
        await stream.aclose()
    if link is None or awaited is None:
        return link
    awaited.deliver(link)
    return None


async def _handshake(
    terms: Terms, stream: FrameStream, purposes: Container[str]
) -> tuple[TcpLink, AwaitedTunnel | None]:
    invites = tuple(terms.invites.open_certificates()) if terms.invites is not None else ()
    context = terms.credentials.acceptor_context(invites)
    await stream.start_tls(context, server_side=False, timeout_s=2 * terms.timeout_s)
    await _turn_away_excluded(terms, stream)
    peer, invited = _who(terms, stream, invites)
    if not invited:
        terms.opened.add(stream, peer)
    hello = unpack_hello(await _first_frame(terms, stream))
    objection, awaited = _objection(terms, peer, hello, invited=invited), None
    if objection is None and hello.nonce:
        awaited = terms.awaited.claim(hello.nonce, peer)
    objection = objection or _no_place(hello, awaited, purposes)
    if objection is not None:
        reason = _OBJECTIONS[objection]
        reason = _unspoken(terms.versions, hello.versions) if reason is None else reason
        await _refuse(stream, pack_refusal(objection, terms.versions), reason)
    version = terms.versions.common(hello.versions)
    assert version is not None
    stream.allow_long_frames()
    await stream.send(pack_ok(version, terms.instance))
    terms.note_instance(peer, hello, stream.remote.host)
    purpose, instance = Purpose(hello.purpose), hello.instance
    link = TcpLink(stream, peer=peer, purpose=purpose, dialed=False, version=version, instance=instance)
    return link, awaited


async def _turn_away_excluded(terms: Terms, stream: FrameStream) -> None:
    """Tell one who was a member that it is none any more, once it has said what for."""
    try:
        standing, tag = terms.credentials.standing(stream.peer_certificate() or b"")
    except IdentityError:
        return
    if standing is Standing.REVOKED:
        await stream.receive()
        await _refuse(stream, pack_refusal(RefusalCode.REVOKED, terms.versions), standing.value)
    if standing is Standing.FORMER:
        await stream.receive()
        proof = terms.credentials.ring.proofs.get(tag, b"")
        proof = proof if len(proof) <= _PROOF_BYTES_MAX else b""
        await _refuse(stream, pack_refusal(RefusalCode.SECRET, terms.versions, proof), standing.value)


async def _refuse(stream: FrameStream, refusal: bytes, reason: str) -> NoReturn:
    await stream.send(refusal)
    raise _RefusedError(reason)


async def _first_frame(terms: Terms, stream: FrameStream) -> bytes:
    try:
        return await stream.receive()
    except ClosedError:
        if stream.failure is Cause.FOREIGN:  # one that we know does not know who made our certificate
            terms.credentials.show_another()
        raise


def _who(terms: Terms, stream: FrameStream, invites: Sequence[str]) -> tuple[NodeId, bool]:
    """Return whose certificate the peer showed, and whether it is an invite's."""
    shown = stream.peer_certificate() or b""
    if shown in map(ssl.PEM_cert_to_DER_cert, invites):
        return holder(parse_certificate(shown)), True
    try:
        return terms.credentials.member(shown), False
    except IdentityError as error:
        raise _TurnedAwayError(Cause.FOREIGN) from error


def _objection(terms: Terms, peer: NodeId, hello: Hello, *, invited: bool) -> RefusalCode | None:
    """What stands against this peer."""
    if peer == terms.credentials.node:
        ours = hello.instance == terms.instance or hello.purpose == Purpose.QUERY  # by another program of this box
        return RefusalCode.ITSELF if ours else RefusalCode.TWIN
    if invited != (hello.purpose == Purpose.JOIN):
        return RefusalCode.INVITE
    if not invited and not terms.pins.admits(peer):
        return RefusalCode.PINS
    return RefusalCode.VERSION if terms.versions.common(hello.versions) is None else None


def _no_place(hello: Hello, awaited: AwaitedTunnel | None, purposes: Container[str]) -> RefusalCode | None:
    """What stands against the purpose it names. An awaited tunnel needs nobody who serves tunnels here."""
    if hello.nonce:
        return None if awaited is not None and hello.purpose == Purpose.TUNNEL else RefusalCode.NONCE
    return None if hello.purpose in purposes else RefusalCode.PURPOSE


def _unspoken(ours: Versions, theirs: Versions) -> str:
    """Of which version a peer is with which we have none in common. In words of ours, for a peer may claim any."""
    if theirs.newest < ours.oldest:
        return "speaks older protocol versions only: update that machine"
    return "speaks newer protocol versions only: update this node"
