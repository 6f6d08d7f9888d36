"""Who a node is: an Ed25519 key pair, made once and kept in one private file.

A `NodeId` is the public key itself in lower-case base32, so it needs no directory and cannot be claimed by another.
What is signed must begin with words that say what it is for; this file signs what it is given.
"""

from __future__ import annotations

import base64
import binascii
import functools
from typing import TYPE_CHECKING, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from propagul._system import create_private, read_private
from propagul.errors import IdentityError
from propagul.link.base import NodeId

if TYPE_CHECKING:
    from pathlib import Path

_KEY_BYTES = 32
_ID_CHARS = 52
_PADDING = "===="


def node_id(public: bytes) -> NodeId:
    """Return the id of a 32-byte Ed25519 public key.

    Raises:
        IdentityError: It is not 32 bytes.
    """
    if len(public) != _KEY_BYTES:
        raise IdentityError(f"a public key has {_KEY_BYTES} bytes, this one {len(public)}")
    return NodeId(base64.b32encode(public).decode().rstrip("=").lower())


def public_bytes(node: NodeId | str) -> bytes:
    """Return the 32 bytes of a node's public key; the inverse of `node_id`.

    Raises:
        IdentityError: The text is no node id.
    """
    try:
        public = base64.b32decode(node.upper() + _PADDING) if len(node) == _ID_CHARS else b""
    except (binascii.Error, ValueError):
        public = b""
    # A key has one id only: the four spare bits of the last character are zero and the case is lower.
    if len(public) != _KEY_BYTES or node_id(public) != node:
        raise IdentityError(f"a node id is {_ID_CHARS} characters of lower-case base32")
    return public


def verify(node: NodeId, signature: bytes, message: bytes) -> bool:
    """Tell whether `node` signed `message`."""
    try:
        _key_of(node).verify(signature, message)
    except (InvalidSignature, IdentityError, ValueError):
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _key_of(node: NodeId) -> Ed25519PublicKey:
    """Kept, because making it takes a third of the time of using it."""
    return Ed25519PublicKey.from_public_bytes(public_bytes(node))


class Identity:
    """A node's private key. Its text forms show the public half only."""

    __slots__ = ("_key", "node")

    node: NodeId

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.node = node_id(key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Identity({self.node})"

    @classmethod
    def generate(cls) -> Self:
        """Make a new identity."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the identity that 32 secret bytes determine."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Load the identity in `path` (PEM, PKCS 8), or make one there, readable by its owner only.

        Processes that start together on one path agree on one identity.

        Raises:
            IdentityError: Others may read the file, or it holds no Ed25519 key, or it cannot be made.
        """
        if path.exists():
            return cls._load(path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private(path, cls.generate().private_pem())
        except FileExistsError:
            pass  # another process was first: its identity is ours
        except OSError as error:
            raise IdentityError(f"no identity can be made at {path}: {error.strerror}") from error
        return cls._load(path)

    @classmethod
    def _load(cls, path: Path) -> Self:
        try:
            key = load_pem_private_key(read_private(path), password=None)
        except OSError as error:
            raise IdentityError(f"the identity {path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise IdentityError(f"{path} holds no private key; move it away to get a new identity") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(f"{path} holds a key that is not Ed25519; move it away to get a new identity")
        return cls(key)

    @property
    def key(self) -> Ed25519PrivateKey:
        """The private key, for certificates. *Never* print, log or send it."""
        return self._key

    def private_pem(self) -> bytes:
        """Return the private key as PKCS 8 PEM, for a private file or OpenSSL."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`."""
        return self._key.sign(message)
