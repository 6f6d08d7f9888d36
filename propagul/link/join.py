"""Redeeming an invite: from a token to a certificate of the room.

    joiner  -> issuer   nonce, joiner, proof       proof: the joiner's signature, so nobody joins with another's key
    issuer  -> joiner   answer, signature          answer: the grant or why not; signature: by the identity pinned in
                                                   the invite, over nonce, joiner, invite and the answer itself

Both run inside TLS in which the joiner showed the invite's certificate. The joiner knows no authority yet, so TLS
proves nothing of the issuer to it; the signature does, and it is checked before any byte of the answer is looked at.
The joiner learns a certificate for its key and the room's authority certificate; the secret only where the invite is
for an admin. Only who holds the invite's code can have shown its certificate, so nobody else reads that.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from propagul.errors import ClosedError, IdentityError, LinkError, PeerProtocolError
from propagul.link.base import Address, NodeId, Purpose
from propagul.link.credentials import Credentials, tls_context
from propagul.link.handshake import ask, open_stream
from propagul.link.identity import verify
from propagul.link.invite import Invite, InviteGate, invite_id
from propagul.link.lineage import Lineage
from propagul.link.messages import pack, unpack
from propagul.link.ring import tag_of

if TYPE_CHECKING:
    from propagul.link.base import Link
    from propagul.link.identity import Identity

JOIN_TIMEOUT_S = 5.0
"""How long either end waits for the other's message."""

_NONCE_BYTES = 32
_SENTENCE_CHARS_MAX = 200
_GRANTED = "granted"
_REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a joiner gets. Nothing in it but `secret` is secret, and that is worthless without the joiner's key."""

    room: str
    certificate_pem: str
    ca_pem: str
    issuer: NodeId
    address: Address
    """Where the issuer answered: the first peer to dial."""
    lineage: Lineage
    """The room's authorities up to that one."""
    secret: str | bytes | None = field(default=None, repr=False)
    """The room's secret, for an admin. *Invariant*: never printed or logged."""


async def join(invite: Invite, identity: Identity, *, timeout_s: float = JOIN_TIMEOUT_S) -> Grant:
    """Redeem an invite at the first of its addresses that answers; each step there may take `timeout_s`.

    Raises:
        IdentityError: The invite is expired, used or revoked, or the machine there is not the one that made it.
        LinkError: No address answered; the message lists what each said.
    """
    failures = []
    for address in invite.addresses:
        try:
            return await _join_at(address, invite, identity, timeout_s)
        except LinkError as error:
            failures.append(str(error))
    raise LinkError("the machine that made this invite cannot be reached: " + "; ".join(failures or ["no address"]))


async def serve_join(link: Link, credentials: Credentials, gate: InviteGate) -> None:
    """Serve one joiner: the handler of `Purpose.JOIN`.

    Raises:
        PeerProtocolError: The joiner does not keep to the protocol.
        ClosedError: It left, or said nothing for `JOIN_TIMEOUT_S`.
    """
    if link.purpose is not Purpose.JOIN:
        raise PeerProtocolError("joining is served on links for join only")
    name = invite_id(link.peer)
    nonce, joiner = await _request(link, name)
    answer = _answer(credentials, gate, name, joiner, link.remote.host)
    signature = credentials.identity.sign(_answer_text(nonce, joiner, name, answer))
    await link.send(pack([answer, signature]))


async def _join_at(address: Address, invite: Invite, identity: Identity, timeout_s: float) -> Grant:
    context = tls_context(ssl.PROTOCOL_TLS_SERVER, invite.key, invite.certificate_pem, ())
    try:
        stream = await open_stream(address, context, timeout_s)
        await ask(stream, address, Purpose.JOIN, timeout_s)
    except IdentityError as error:
        raise IdentityError(
            f"{address} does not take this invite: it is expired, used or revoked, or another machine made it"
        ) from error
    nonce = secrets.token_bytes(_NONCE_BYTES)
    proof = identity.sign(_proof_text(nonce, identity.node, invite.invite_id))
    try:
        async with asyncio.timeout(timeout_s):
            await stream.send(pack([nonce, identity.node, proof]))
            frame = await stream.receive()
    except (TimeoutError, ClosedError) as error:
        raise LinkError(f"{address} gave no answer to the invite") from error
    except PeerProtocolError as error:
        raise LinkError(f"{address} does not speak this protocol") from error
    finally:
        stream.abort()
    return _grant(_signed_answer(frame, nonce, invite, identity, address), invite, identity, address)


def _signed_answer(frame: bytes, nonce: bytes, invite: Invite, identity: Identity, address: Address) -> bytes:
    """Return the answer once the pinned issuer is known to have given it to us, now."""
    try:
        answer, signature = unpack(frame, bytes, bytes)[:2]
    except PeerProtocolError:
        answer = signature = b""
    assert isinstance(answer, bytes)
    assert isinstance(signature, bytes)
    if not verify(invite.issuer, signature, _answer_text(nonce, identity.node, invite.invite_id, answer)):
        raise IdentityError(f"the machine at {address} is not the one that made this invite")
    return answer


def _grant(answer: bytes, invite: Invite, identity: Identity, address: Address) -> Grant:
    try:
        message = unpack(answer, str)
    except PeerProtocolError as error:
        raise LinkError(f"{address} does not speak this version of joining") from error
    match message:
        case [word, str(sentence), *_] if word == _REFUSED:
            raise IdentityError(f"{address} refused the invite: {_plain(sentence)}")
        case [word, str(room), str(certificate), str(ca), *more] if word == _GRANTED and room == invite.room:
            lineage = Lineage.read(more[0]) if more and isinstance(more[0], bytes) else Lineage.of(tag_of(ca))
            Credentials.from_grant(identity, certificate, ca, lineage=lineage)  # or it would be found useless later
            secret = more[1] if len(more) > 1 and isinstance(more[1], (str, bytes)) else None
            return Grant(
                room=room,
                certificate_pem=certificate,
                ca_pem=ca,
                issuer=invite.issuer,
                address=address,
                lineage=lineage,
                secret=secret,
            )
        case _:
            raise LinkError(f"{address} does not speak this version of joining")


async def _request(link: Link, name: str) -> tuple[bytes, NodeId]:
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            frame = await link.receive()
    except TimeoutError as error:
        raise ClosedError("a joiner said nothing") from error
    match unpack(frame, bytes, str, bytes):
        case [bytes(nonce), str(text), bytes(proof), *_] if len(nonce) == _NONCE_BYTES:
            joiner = NodeId(text)
            if verify(joiner, proof, _proof_text(nonce, joiner, name)):
                return nonce, joiner
    raise PeerProtocolError("a joiner did not prove its key")


def _answer(credentials: Credentials, gate: InviteGate, name: str, joiner: NodeId, host: str) -> bytes:
    if credentials.authority is None:
        return pack([_REFUSED, "this machine does not hold the secret of the room"])
    if joiner in credentials.ring.revoked:
        return pack([_REFUSED, "that machine's identity was revoked; it needs a new one"])
    try:
        gate.redeem(name, joiner, host)
    except IdentityError as error:
        return pack([_REFUSED, str(error)])
    authority = credentials.authority
    lineage = credentials.ring.lineage.cut(authority.tag)
    secret = authority.secret if gate.is_admin(name) else None
    return pack([_GRANTED, authority.room, authority.certify(joiner), authority.ca_pem, lineage.packed, secret])


def _proof_text(nonce: bytes, joiner: NodeId, name: str) -> bytes:
    return pack(["propagul 1 join request", nonce, joiner, name])


def _answer_text(nonce: bytes, joiner: NodeId, name: str, answer: bytes) -> bytes:
    return pack(["propagul 1 join answer", nonce, joiner, name, answer])


def _plain(sentence: str) -> str:
    return "".join(character for character in sentence if character.isprintable())[:_SENTENCE_CHARS_MAX]
