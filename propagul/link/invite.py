"""The invite: a token that lets one machine in, once, without the room's secret.

It holds where the issuer listens, which key the issuer has, and a one-time code. From the code both ends derive the
same key and certificate; while the invite is open the issuer's listener trusts that certificate for the purpose
`join` and for nothing else. Whoever sees the token can use it, so it travels as a password does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from propagul.errors import IdentityError, PeerProtocolError
from propagul.link.base import Address, NodeId
from propagul.link.certificates import invite_certificate
from propagul.link.identity import Identity, node_id, public_bytes
from propagul.link.messages import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESSES_MAX = 16
CODE_BYTES = 16

_PREFIX = "propagul1"
_CHECKSUM_BYTES = 4
_TOKEN_CHARS_MAX = 8192
_HOST_CHARS_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """What a token says."""

    addresses: tuple[Address, ...]
    """Where to redeem it, in the order to try."""
    room: str
    issuer: NodeId
    """Who must answer; checked before anything else is believed."""
    code: bytes = field(repr=False)
    """16 random bytes. *Invariant*: never printed, logged or sent."""

    @classmethod
    def new(cls, *, addresses: Sequence[Address], room: str, issuer: NodeId) -> Self:
        """Make an invite with a fresh code."""
        code = secrets.token_bytes(CODE_BYTES)
        return cls(addresses=tuple(addresses)[:ADDRESSES_MAX], room=room, issuer=issuer, code=code)

    def encode(self) -> str:
        """Return the token: one word that survives wrapping in a mail or a chat."""
        places = [[address.host, address.port] for address in self.addresses]
        body = pack([places, self.room, public_bytes(self.issuer), self.code])
        return _PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a token; white space anywhere in it is ignored.

        Raises:
            IdentityError: It is no invite, damaged, or made by a newer version. The message never quotes it.
        """
        body = _body("".join(text.split()))
        try:
            match unpack(body, list, str, bytes, bytes):
                case [list(places), str(room), bytes(issuer), bytes(code), *_] if room and len(code) == CODE_BYTES:
                    addresses = tuple(map(_address, places[:ADDRESSES_MAX]))
                    return cls(addresses=addresses, room=room, issuer=node_id(issuer), code=code)
        except (PeerProtocolError, IdentityError):
            pass
        raise IdentityError("the invite says nothing that this version understands: ask for a new one")

    @property
    def key(self) -> Identity:
        """The key pair that the code determines."""
        seed = HKDF(algorithm=SHA256(), length=32, salt=b"propagul 1 invite", info=b"join key").derive(self.code)
        return Identity.from_seed(seed)

    @property
    def certificate_pem(self) -> str:
        """The certificate the joiner shows and the issuer trusts."""
        return invite_certificate(self.key.key)

    @property
    def invite_id(self) -> str:
        """Its public name, for lists and revocation."""
        return invite_id(self.key.node)


class InviteGate(Protocol):
    """What the issuing node knows of its invites. Kept by whoever makes them."""

    def open_certificates(self) -> Sequence[str]:
        """Return the certificates (PEM) to trust for joining; called for each new connection.

        Used and expired ones are best kept here for a while: only then does a late joiner learn why it is refused.
        """

    def is_admin(self, invite_id: str) -> bool:
        """Return whether who redeems it is to hold the room's secret."""

    def redeem(self, invite_id: str, joiner: NodeId, host: str) -> None:
        """Use up an invite. It is used when this returns: persist it first.

        The same joiner may redeem again, so that one whose answer was lost on the way is not shut out.

        Raises:
            IdentityError: Expired, revoked, or used by another; the message is shown to the joiner.
        """


def invite_id(key: NodeId) -> str:
    """Return the public name of the invite whose key this is: 16 characters of base32."""
    digest = hashlib.sha256(b"propagul 1 invite id" + public_bytes(key)).digest()
    return base64.b32encode(digest[:10]).decode().lower()


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"propagul 1 token" + body).digest()[:_CHECKSUM_BYTES]


def _body(token: str) -> bytes:
    if not token.startswith("propagul"):
        raise IdentityError(f"this is no invite: an invite begins with {_PREFIX}")
    if not token.startswith(_PREFIX):
        raise IdentityError("this invite was made by a newer version: update this node")
    text = token.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if len(token) > _TOKEN_CHARS_MAX or not hmac.compare_digest(checksum, _checksum(body)):
        raise IdentityError("the invite is damaged: copy the whole of it again, from the first letter to the last")
    return body


def _address(place: object) -> Address:
    match place:
        case [str(host), int(port)] if 0 < len(host) <= _HOST_CHARS_MAX and 0 < port < 1 << 16:
            return Address(host, port)
        case _:
            raise PeerProtocolError("an address in an invite is damaged")
