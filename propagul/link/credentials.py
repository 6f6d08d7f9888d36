"""What a node shows to be let in: its identity, the room's certificate for it, and whom it trusts in turn.

The dialler plays the TLS server and the acceptor the TLS client, because in TLS the server shows its certificate
first: so whoever dials a listener must prove itself before the listener says anything about itself. TLS 1.3 only,
certificates required on both sides, no tickets and no resumption, so every link proves membership afresh.
"""

from __future__ import annotations

import enum
import ssl
from typing import TYPE_CHECKING, Self

from propagul._system import lend
from propagul.errors import IdentityError
from propagul.link.certificates import holder, issued_by, parse_certificate
from propagul.link.lineage import Lineage
from propagul.link.ring import KeyRing, tag_of
from propagul.link.room import short_tag
from propagul.link.tls import OutspokenSSLObject

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from propagul.link.base import NodeId
    from propagul.link.identity import Identity
    from propagul.link.room import RoomAuthority


_CONTEXTS_MAX = 8
"""More than are used at a time: invites come and go, and each set of them needs a context of its own."""


class Standing(enum.Enum):
    """What a certificate says of who shows it."""

    MEMBER = "a member"
    REVOKED = "a revoked member"
    FORMER = "a certificate of the secret that the room had before"
    FOREIGN = "a certificate is not of this room"


class Credentials:
    """One node's standing in one room. It may change while links are open, from any thread.

    Attributes:
        identity: Who we are.
        ring: Whom we trust, and what we can show. Replaced, never changed.
        linked: Who has proven itself on a link that is open now. Set by the transport.
    """

    __slots__ = ("_authority", "_contexts", "_listeners", "_turn", "identity", "linked", "ring")

    def __init__(
        self,
        identity: Identity,
        certificate_pem: str,
        ca_pems: tuple[str, ...],
        authority: RoomAuthority | None,
        lineage: Lineage | None = None,
    ) -> None:
        own, trusted = tag_of(ca_pems[0]), {tag_of(pem): pem for pem in ca_pems}
        if lineage is not None and lineage.tag != own:
            raise IdentityError("this line of authorities leads to another room")
        self.identity, self._authority = identity, authority
        line = lineage or Lineage.of(own)
        self.ring = KeyRing(lineage=line, trusted=trusted, certificates={own: certificate_pem})
        self._contexts: dict[object, ssl.SSLContext] = {}
        self._listeners: list[Callable[[], None]] = []
        self._turn = 0
        self.linked: Callable[[], Collection[NodeId]] = tuple
        if self.member(certificate_pem) != identity.node:
            raise IdentityError("this certificate was made for another node's key")

    def __repr__(self) -> str:
        return f"Credentials({self.node}, room_tag={self.room_tag})"

    @classmethod
    def from_authority(
        cls,
        identity: Identity,
        authority: RoomAuthority,
        *,
        also_trust: Sequence[str] = (),
        lineage: Lineage | None = None,
    ) -> Self:
        """Certify ourselves with the room's secret.

        Args:
            identity: Who we are.
            authority: What the secret makes.
            also_trust: Authority certificates (PEM) of an overlap.
            lineage: The authorities before this one, if any are known.
        """
        certificate = authority.certify(identity.node)
        return cls(identity, certificate, (authority.ca_pem, *also_trust), authority, lineage)

    @classmethod
    def from_grant(
        cls,
        identity: Identity,
        certificate_pem: str,
        ca_pem: str,
        *,
        also_trust: Sequence[str] = (),
        lineage: Lineage | None = None,
    ) -> Self:
        """Use a certificate that a holder of the secret made for us.

        Raises:
            IdentityError: It is damaged, for another key, or not of that authority.
        """
        return cls(identity, certificate_pem, (ca_pem, *also_trust), None, lineage)

    @property
    def node(self) -> NodeId:
        """Our identity's public half."""
        return self.identity.node

    @property
    def certificate_pem(self) -> str:
        """The certificate we show first."""
        ring = self.ring
        return ring.certificates[ring.shown[0]]

    @property
    def newest_der(self) -> bytes:
        """The certificate (DER) of the newest authority that made us one: how others see which we have adopted."""
        ring = self.ring
        return ssl.PEM_cert_to_DER_cert(ring.certificates[ring.newest])

    @property
    def ca_pems(self) -> tuple[str, ...]:
        """Certificates of the authorities we trust, our own first; two during a rotation of the secret."""
        return self.ring.ca_pems

    @property
    def authority(self) -> RoomAuthority | None:
        """The room's authority if we hold the secret and it is trusted, else None: then we can invite nobody."""
        held = self._authority
        return held if held is not None and held.tag in self.ring.trusted else None

    @property
    def opened_with(self) -> RoomAuthority | None:
        """The authority of the last secret we were given, trusted or not."""
        return self._authority

    @property
    def room_tag(self) -> str:
        """By which members recognise each other's room; tells others nothing. Stays when the secret changes."""
        return short_tag(self.ring.lineage.tags[0])

    # --- changes -------------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener()` after every change, in the thread that made it. It must be quick."""
        self._listeners.append(listener)

    def settle(self, ring: KeyRing) -> None:
        """Use another ring from now on. Open links are looked at again by who holds them."""
        if ring != self.ring:
            self.ring, self._contexts = ring, {}
            for listener in list(self._listeners):
                listener()

    def hold(self, authority: RoomAuthority) -> None:
        """Be a holder of another secret from now on."""
        self._authority = authority

    def trust(self, ca_pem: str) -> None:
        """Trust one more authority, unless it ended.

        Raises:
            IdentityError: The certificate is damaged.
        """
        self.settle(self.ring.trust(ca_pem))

    def adopt(self, certificate_pem: str, ca_pem: str) -> None:
        """Have one more certificate to show, of an authority that is trusted with it.

        Raises:
            IdentityError: It is damaged, for another key, or not of that authority.
        """
        Credentials.from_grant(self.identity, certificate_pem, ca_pem)
        self.settle(self.ring.adopt(certificate_pem, ca_pem))

    def distrust(self, tag: str) -> None:
        """Trust an authority no more."""
        self.settle(self.ring.distrust(tag))

    def revoke(self, node: NodeId) -> None:
        """Let a node in no more, whatever it shows."""
        self.settle(self.ring.revoke(node))

    # --- who is who ----------------------------------------------------------------------------------------------

    def member(self, certificate: str | bytes) -> NodeId:
        """Return whom a certificate (PEM if text, DER if bytes) proves to be a member.

        OpenSSL has verified the chain already; this says so independently, and of the room's authorities alone.

        Raises:
            IdentityError: None of the authorities that we trust made it, or its holder is revoked.
        """
        standing, _ = self.standing(certificate)
        if standing is not Standing.MEMBER:
            raise IdentityError(standing.value)
        return holder(parse_certificate(certificate))

    def standing(self, certificate: str | bytes) -> tuple[Standing, str]:
        """What a certificate says of who shows it, and the tag of the authority that made it.

        Raises:
            IdentityError: It is damaged.
        """
        shown, ring = parse_certificate(certificate), self.ring
        for authorities in (ring.trusted, ring.ended):
            for tag, ca in authorities.items():
                if issued_by(shown, parse_certificate(ca)):
                    if authorities is ring.ended:
                        return Standing.FORMER, tag
                    return (Standing.REVOKED if holder(shown) in ring.revoked else Standing.MEMBER), tag
        return Standing.FOREIGN, ""

    # --- TLS -----------------------------------------------------------------------------------------------------

    @property
    def choices(self) -> int:
        """How many certificates we can show; more than one while the secret changes."""
        return len(self.ring.shown)

    def dialer_context(self, choice: int = 0) -> ssl.SSLContext:
        """Return the context of the end that opens connections. It plays the TLS server.

        Args:
            choice: Which certificate to show, below `choices`.
        """
        return self._context(ssl.PROTOCOL_TLS_SERVER, choice, self.ring.ca_pems or (self.certificate_pem,))

    def asking_context(self, choice: int = 0) -> ssl.SSLContext:
        """Return the context of a dialler that only asks why it was refused: it checks nobody's certificate."""
        return self._context(ssl.PROTOCOL_TLS_SERVER, choice, ())

    def acceptor_context(self, extra_trust: Sequence[str] = ()) -> ssl.SSLContext:
        """Return the context of the listening end. It plays the TLS client.

        Authorities that ended are trusted in it, so that who comes with their certificate can be told. Who shows one is
        no member: ask `member`.

        Args:
            extra_trust: Certificates (PEM) of open invites, trusted beside them; the same holds for who shows one.
        """
        ring = self.ring
        trusted = (*ring.ca_pems, *ring.ended.values(), *extra_trust)
        return self._context(ssl.PROTOCOL_TLS_CLIENT, self._turn, trusted or (self.certificate_pem,))

    def show_another(self) -> None:
        """A member did not take what our listener showed: show the next of our certificates from now on."""
        self._turn += 1

    def _context(self, role: int, choice: int, trusted: tuple[str, ...]) -> ssl.SSLContext:
        ring, contexts = self.ring, self._contexts
        tag = ring.shown[choice % len(ring.shown)]
        wanted = (role, tag, trusted)
        found = contexts.get(wanted)
        if found is None:
            if len(contexts) >= _CONTEXTS_MAX:
                contexts.clear()
            found = contexts[wanted] = tls_context(role, self.identity, ring.certificates[tag], trusted)
        return found


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
