"""What a node shows to be let in: its identity, the room's certificate for it, and whom it trusts in turn.

The dialler plays the TLS server and the acceptor the TLS client, because in TLS the server shows its certificate
first: so whoever dials a listener must prove itself before the listener says anything about itself. TLS 1.3 only,
certificates required on both sides, no tickets and no resumption, so every link proves membership afresh.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Self

from propagul._system import lend
from propagul.errors import IdentityError
from propagul.link.certificates import holder, issued_by, parse_certificate
from propagul.link.room import room_tag
from propagul.link.tls import OutspokenSSLObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.link.base import NodeId
    from propagul.link.identity import Identity
    from propagul.link.room import RoomAuthority


class Credentials:
    """One node's standing in one room.

    Attributes:
        identity: Who we are.
        certificate_pem: Our certificate.
        ca_pems: Certificates of the authorities we trust, our own first; two during a rotation of the secret.
        authority: The room's authority if we hold the secret, else None: then we can invite nobody.
        room_tag: By which members recognise each other's room; tells others nothing.
    """

    __slots__ = (
        "_acceptor",
        "_acceptor_trust",
        "_dialer",
        "authority",
        "ca_pems",
        "certificate_pem",
        "identity",
        "room_tag",
    )  # fmt: skip - one line of names

    def __init__(
        self, identity: Identity, certificate_pem: str, ca_pems: tuple[str, ...], authority: RoomAuthority | None
    ) -> None:
        self.identity, self.certificate_pem, self.ca_pems, self.authority = (
            identity,
            certificate_pem,
            ca_pems,
            authority,
        )
        self.room_tag = room_tag(ca_pems[0])
        self._dialer: ssl.SSLContext | None = None
        self._acceptor: ssl.SSLContext | None = None
        self._acceptor_trust: tuple[str, ...] = ()
        if self.member(certificate_pem) != identity.node:
            raise IdentityError("this certificate was made for another node's key")

    def __repr__(self) -> str:
        return f"Credentials({self.node}, room_tag={self.room_tag})"

    @classmethod
    def from_authority(cls, identity: Identity, authority: RoomAuthority, *, also_trust: Sequence[str] = ()) -> Self:
        """Certify ourselves with the room's secret. `also_trust`: authority certificates (PEM) of an overlap."""
        return cls(identity, authority.certify(identity.node), (authority.ca_pem, *also_trust), authority)

    @classmethod
    def from_grant(
        cls, identity: Identity, certificate_pem: str, ca_pem: str, *, also_trust: Sequence[str] = ()
    ) -> Self:
        """Use a certificate that a holder of the secret made for us.

        Raises:
            IdentityError: It is damaged, for another key, or not of that authority.
        """
        return cls(identity, certificate_pem, (ca_pem, *also_trust), None)

    @property
    def node(self) -> NodeId:
        """Our identity's public half."""
        return self.identity.node

    def member(self, certificate: str | bytes) -> NodeId:
        """Return whom a certificate (PEM if text, DER if bytes) proves to be a member.

        OpenSSL has verified the chain already; this says so independently, and of the room's authorities alone.

        Raises:
            IdentityError: None of the authorities that we trust made it.
        """
        shown = parse_certificate(certificate)
        if not any(issued_by(shown, parse_certificate(ca)) for ca in self.ca_pems):
            raise IdentityError("a certificate is not of this room")
        return holder(shown)

    def dialer_context(self) -> ssl.SSLContext:
        """Return the context of the end that opens connections. It plays the TLS server."""
        if self._dialer is None:
            self._dialer = tls_context(ssl.PROTOCOL_TLS_SERVER, self.identity, self.certificate_pem, self.ca_pems)
        return self._dialer

    def acceptor_context(self, extra_trust: Sequence[str] = ()) -> ssl.SSLContext:
        """Return the context of the listening end. It plays the TLS client.

        Args:
            extra_trust: Certificates (PEM) of open invites, trusted beside the room's authorities. Who shows one is
                no member: ask `member`.
        """
        trust = tuple(extra_trust)
        if self._acceptor is None or trust != self._acceptor_trust:
            trusted = self.ca_pems + trust
            self._acceptor = tls_context(ssl.PROTOCOL_TLS_CLIENT, self.identity, self.certificate_pem, trusted)
            self._acceptor_trust = trust
        return self._acceptor


def tls_context(role: int, identity: Identity, certificate_pem: str, trusted: Sequence[str]) -> ssl.SSLContext:
    """Build a context that shows `certificate_pem` and requires one that `trusted` vouches for.

    With nothing trusted no certificate is asked for: that is a joiner's end, which proves the issuer by a signature.
    """
    context = ssl.SSLContext(role)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # certificates hold no names
    context.verify_mode = ssl.CERT_REQUIRED if trusted else ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET
    if role == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    if trusted:
        context.load_verify_locations(cadata="\n".join(trusted))
    with lend(certificate_pem.encode() + identity.private_pem()) as path:
        context.load_cert_chain(path)
    context.sslobject_class = OutspokenSSLObject
    return context
