"""Deeds: signed statements about who belongs to a room. Each proves itself and is judged alone.

    [kind, lineage of the signer, ...]          msgpack, the value of one row under `Deed.key`

A deed is read whole or refused; whoever reads one decides whether its lineage is that of their room. No signer can make
two deeds of one key that mean different things, so it does not matter which of them a replica holds.
"""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul.errors import IdentityError, PeerProtocolError
from propagul.link.base import NodeId
from propagul.link.certificates import holder, is_members, issued_by, made_by, parse_certificate
from propagul.link.identity import node_id, public_bytes, verify
from propagul.link.lineage import Lineage
from propagul.link.messages import pack, unpack

if TYPE_CHECKING:
    from propagul.link.identity import Identity
    from propagul.link.room import RoomAuthority

DEED_BYTES_MAX = 32 * 1024
"""More than the longest line of authorities and three certificates need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """An authority follows another one.

    Attributes:
        lineage: Its line, itself last.
        ca_pem: Its certificate.
        former_pem: That of the one before it.
        until_s: When the overlap is over at the latest, seconds since the epoch.
    """

    lineage: Lineage
    ca_pem: str
    former_pem: str
    until_s: int

    @property
    def key(self) -> str:
        """Where it stands."""
        return f"authorities/{self.lineage.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A node is a member."""

    lineage: Lineage
    node: NodeId
    certificate_pem: str

    @property
    def key(self) -> str:
        """Where it stands."""
        return f"certificates/{self.node}/{self.lineage.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A node uses its certificate of an authority."""

    lineage: Lineage
    node: NodeId

    @property
    def key(self) -> str:
        """Where it stands."""
        return f"adopted/{self.node}/{self.lineage.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A node is shut out."""

    lineage: Lineage
    node: NodeId

    @property
    def key(self) -> str:
        """Where it stands."""
        return f"revoked/{self.node}/{self.lineage.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An authority is trusted no more; the one that says so came after it.

    Attributes:
        tag: Which one.
        ca_pem: Its certificate, by which a latecomer is recognised.
        packed: The deed as it travels, for that latecomer.
    """

    lineage: Lineage
    tag: str
    ca_pem: str
    packed: bytes

    @property
    def key(self) -> str:
        """Where it stands."""
        return f"ended/{self.tag}/{self.lineage.tag}"


Deed = Succession | Certified | Adopted | Revoked | Ended


@functools.lru_cache(maxsize=1024)
def read_deed(packed: bytes) -> Deed:
    """Verify a deed.

    Raises:
        IdentityError: It is none, or a signature in it is wrong.
    """
    try:
        kind, line, *rest = unpack(packed if len(packed) <= DEED_BYTES_MAX else b"", str, bytes)
    except PeerProtocolError as error:
        raise IdentityError("a deed is damaged") from error
    assert isinstance(line, bytes)
    deed = _read(str(kind), Lineage.read(line), rest, packed)
    if deed is None:
        raise IdentityError("a deed is not signed by who it names")
    return deed


def pack_succession(lineage: Lineage, successor: RoomAuthority, former_pem: str, until_s: int) -> bytes:
    """Name the last of a lineage an authority of the room; until when the one before it stays one, at the latest."""
    signature = successor.sign(_text("overlap", lineage.tag, until_s))
    return pack(["authority", lineage.packed, _der(successor.ca_pem), _der(former_pem), until_s, signature])


def pack_certified(lineage: Lineage, certificate_pem: str) -> bytes:
    """Publish a certificate of the last of a lineage."""
    return pack(["certificate", lineage.packed, _der(certificate_pem)])


def pack_adopted(lineage: Lineage, certificate_pem: str, identity: Identity) -> bytes:
    """Say that we use our certificate of the last of a lineage."""
    return pack(["adopted", lineage.packed, _der(certificate_pem), identity.sign(_text("adopted", lineage.tag, 0))])


def pack_revoked(lineage: Lineage, authority: RoomAuthority, node: NodeId) -> bytes:
    """Shut a node out."""
    return pack(["revoked", lineage.packed, public_bytes(node), authority.sign(_text("revoked", node, 0))])


def pack_ended(lineage: Lineage, authority: RoomAuthority, ended_pem: str) -> bytes:
    """End an authority that the signer's came after."""
    tag = holder(parse_certificate(ended_pem))
    return pack(["ended", lineage.packed, _der(ended_pem), authority.sign(_text("ended", tag, 0))])


def _read(kind: str, lineage: Lineage, rest: list[object], packed: bytes) -> Deed | None:
    signer = NodeId(lineage.tag)
    match kind, rest:
        case "authority", [bytes(own), bytes(former), int(until_s), bytes(signature), *_]:
            ours, theirs = _authority(own), _authority(former)
            if (
                len(lineage.tags) > 1
                and (ours[0], theirs[0]) == (lineage.tag, lineage.tags[-2])
                and verify(signer, signature, _text("overlap", signer, until_s))
            ):
                return Succession(lineage=lineage, ca_pem=ours[1], former_pem=theirs[1], until_s=until_s)
        case "certificate", [bytes(shown), *_]:
            node, pem = _member(shown, lineage)
            return Certified(lineage=lineage, node=node, certificate_pem=pem)
        case "adopted", [bytes(shown), bytes(signature), *_]:
            node, _pem = _member(shown, lineage)
            if verify(node, signature, _text("adopted", signer, 0)):
                return Adopted(lineage=lineage, node=node)
        case "revoked", [bytes(public), bytes(signature), *_]:
            node = node_id(public)
            if verify(signer, signature, _text("revoked", node, 0)):
                return Revoked(lineage=lineage, node=node)
        case "ended", [bytes(former), bytes(signature), *_]:
            tag, ca_pem = _authority(former)
            if tag in lineage.tags[:-1] and verify(signer, signature, _text("ended", tag, 0)):
                return Ended(lineage=lineage, tag=tag, ca_pem=ca_pem, packed=packed)
        case _:
            pass
    return None


def _member(der: bytes, lineage: Lineage) -> tuple[NodeId, str]:
    """Whose certificate of the last of a lineage this is.

    Raises:
        IdentityError: It is no member's, or of another authority.
    """
    pem = ssl.DER_cert_to_PEM_cert(der)
    certificate = parse_certificate(pem)
    if not made_by(certificate, lineage.tag) or not is_members(certificate):
        raise IdentityError("a certificate is not of the authority it is published under")
    return holder(certificate), pem


def _authority(der: bytes) -> tuple[str, str]:
    """The tag and certificate (PEM) of an authority.

    Raises:
        IdentityError: It is none, or is not signed by itself.
    """
    pem = ssl.DER_cert_to_PEM_cert(der)
    certificate = parse_certificate(pem)
    if not issued_by(certificate, certificate):
        raise IdentityError("a certificate is no authority's")
    return holder(certificate), pem


def _der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem)


def _text(what: str, subject: str, number: int) -> bytes:
    return pack([f"propagul 1 {what}", subject, number])
