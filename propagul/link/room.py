"""The room secret is the room's certificate authority.

Whoever holds the secret derives the same Ed25519 key from it and can certify members; whoever does not cannot. The
derivation is part of the protocol: changing a label, the estimate of strength or the cost of stretching splits rooms.
The secret itself is kept in memory for one use only: handing it to a joiner that is to become an admin.
"""

from __future__ import annotations

import hashlib
import logging
import math
import string
import unicodedata
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from propagul.errors import IdentityError
from propagul.link.certificates import authority_certificate, holder, member_certificate, parse_certificate
from propagul.link.identity import node_id, public_bytes

if TYPE_CHECKING:
    from propagul.link.base import NodeId

SECRET_CHARS_MIN = 12
"""A shorter secret is refused."""

SECRET_BITS_STRONG = 128
"""A secret that may hold fewer bits is stretched."""

ROOM_BYTES_MAX = 255
"""Length of a room's name in UTF-8."""

_SALT = b"propagul 1 room authority"
_OPEN_SALT = b"propagul 1 open room"
_VARIETY_MIN = 8
_ALPHABETS = (
    string.digits,
    string.digits + "abcdef",
    string.digits + "ABCDEF",
    string.ascii_lowercase,
    string.ascii_uppercase,
    string.ascii_lowercase + string.digits,
    string.ascii_uppercase + string.digits,
    string.ascii_letters,
    string.ascii_letters + string.digits,
)
_PRINTABLE = 95

_log = logging.getLogger("propagul.link")


class RoomAuthority:
    """What signs a room's members. Having one means being admin of the room."""

    __slots__ = ("_key", "ca_pem", "room", "secret", "secured", "stretched", "tag")

    room: str
    ca_pem: str
    """The authority's certificate: public among members, never shown to strangers."""
    tag: str
    """What the authority is called among members: its public key, spelt as a node's id is."""
    secret: str | bytes | None
    """What it was derived from. *Never* print, log or send it, but to a joiner who is invited as an admin."""
    secured: bool
    """False for `open`: knowing the room's name is enough to be a member."""
    stretched: bool
    """Whether the secret was weak and made costlier to guess."""

    def __init__(
        self, room: str, key: Ed25519PrivateKey, *, secured: bool, stretched: bool, secret: str | bytes | None = None
    ) -> None:
        self.room, self._key, self.secured, self.stretched = room, key, secured, stretched
        self.ca_pem, self.secret = authority_certificate(key), secret
        self.tag = node_id(key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"RoomAuthority({self.room!r}, secured={self.secured})"

    @classmethod
    def from_secret(cls, room: str, secret: str | bytes) -> Self:
        """Derive the authority of a private room. A weak secret costs about 0.1 s and 32 MiB once.

        Raises:
            IdentityError: The secret is shorter than `SECRET_CHARS_MIN`, or the room's name is empty or too long.
        """
        name = _room_bytes(room)
        if len(secret) < SECRET_CHARS_MIN:
            raise IdentityError(f"the secret of a room has at least {SECRET_CHARS_MIN} characters")
        raw = secret if isinstance(secret, bytes) else unicodedata.normalize("NFC", secret).encode()
        stretched = _bits(raw) < SECRET_BITS_STRONG
        if stretched:
            _log.warning("room.secret_weak room=%s remedy='use 22 random characters or more'", room)
            raw = Scrypt(salt=_SALT + b"\0" + name, length=32, n=2**15, r=8, p=1).derive(raw)
        return cls(room, _derive(raw, _SALT, name), secured=True, stretched=stretched, secret=secret)

    @classmethod
    def open(cls, room: str) -> Self:
        """Return the authority that everyone who knows the room's name can derive: it keeps nobody out.

        *Use*: on loopback, or where the user allowed it by `PROPAGUL_ALLOW_PLAINTEXT`; the caller decides.

        Raises:
            IdentityError: The room's name is empty or too long.
        """
        name = _room_bytes(room)
        return cls(room, _derive(name, _OPEN_SALT, name), secured=False, stretched=False)

    def certify(self, node: NodeId) -> str:
        """Return the certificate (PEM) that makes `node` a member; the same one every time.

        Raises:
            IdentityError: `node` is no node id.
        """
        return member_certificate(node, self._key)

    def sign(self, message: bytes) -> bytes:
        """Return the authority's Ed25519 signature. The message begins with words that say what it is for."""
        return self._key.sign(message)


def room_tag(ca_pem: str) -> str:
    """Return 16 hexadecimal characters that two members recognise each other's room by, and that tell others nothing.

    A hash of the authority's public key: it can confirm a guessed secret, which is why weak secrets are stretched.
    """
    return short_tag(holder(parse_certificate(ca_pem)))


def short_tag(tag: str) -> str:
    """Return the same of an authority's tag."""
    return hashlib.sha256(b"propagul 1 room tag" + public_bytes(tag)).hexdigest()[:16]


def _derive(material: bytes, salt: bytes, name: bytes) -> Ed25519PrivateKey:
    seed = HKDF(algorithm=SHA256(), length=32, salt=salt, info=name).derive(material)
    return Ed25519PrivateKey.from_private_bytes(seed)


def _room_bytes(room: str) -> bytes:
    name = unicodedata.normalize("NFC", room).encode()
    if not 0 < len(name) <= ROOM_BYTES_MAX:
        raise IdentityError(f"the name of a room has 1 to {ROOM_BYTES_MAX} bytes, this one {len(name)}")
    return name


def _bits(secret: bytes) -> float:
    """Estimate from above how many bits of chance a secret holds: length x log2 of the alphabet it is drawn from.

    Fewer than eight different characters are taken as the whole alphabet, so that repetition does not pass for length.
    """
    variety = len(set(secret))
    if variety < _VARIETY_MIN:
        return len(secret) * math.log2(variety)
    return len(secret) * math.log2(_alphabet(secret))


def _alphabet(secret: bytes) -> int:
    characters = set(secret)
    for alphabet in _ALPHABETS:
        if characters <= set(alphabet.encode()):
            return len(alphabet)
    return _PRINTABLE if secret.isascii() and secret.decode().isprintable() else 256
