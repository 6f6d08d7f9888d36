"""What a stranger does at an open port, by hand: blocking sockets that stand on a host of the laboratory."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Final

from propagul.link import Address, Credentials, Identity, Purpose, RoomAuthority, encode_frame
from propagul.link.certificates import invite_certificate
from propagul.link.credentials import tls_context
from propagul.link.messages import Hello, check_answer, pack_hello
from tests.network.lab import PORT
from tests.network.member import SECRET
from tests.network.node import ROOM

if TYPE_CHECKING:
    from tests.network.host import Host

WAIT_S: Final = 10.0


def connect(here: Host, there: Host, *, source: str = "") -> socket.socket:
    """Open a connection and say nothing; `source` is another address of ours."""
    with here.inside():
        address = (there.address, PORT)
        return socket.create_connection(address, WAIT_S, (source, 0) if source else None)


def heard_on(connection: socket.socket) -> bytes:
    """Everything the other end says until it closes."""
    heard = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while more := connection.recv(65536):
            heard += more
    return heard


def credentials(secret: str = SECRET, room: str = ROOM) -> Credentials:
    """Those of a new member of a room."""
    return Credentials.from_authority(Identity.generate(), RoomAuthority.from_secret(room, secret))


def self_made() -> ssl.SSLContext:
    """A dialler's context with a certificate that no room made, which asks for the other's as a dialler does."""
    identity, other = Identity.generate(), credentials("of-another-room-altogether")
    return tls_context(ssl.PROTOCOL_TLS_SERVER, identity, invite_certificate(identity.key), other.ca_pems)


def as_member(here: Host, there: Host) -> ssl.SSLSocket:
    """Become linked for gossip, as a member is; from there on everything is allowed that TLS carries."""
    link = credentials().dialer_context().wrap_socket(connect(here, there), server_side=True)
    link.sendall(encode_frame(pack_hello(Hello(Purpose.GOSSIP))))
    length = int.from_bytes(exactly(link, 4))
    check_answer(exactly(link, length), Address(there.address, PORT), Purpose.GOSSIP)
    return link


def exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes."""
    heard = b""
    while len(heard) < count:
        more = connection.recv(count - len(heard))
        assert more, "the other end closed"
        heard += more
    return heard


class Tap:
    """The bytes below a TLS handshake, done by hand so that all of them are seen.

    Attributes:
        heard: What the other end sent, encrypted or not.
        decrypted: What of it came out of TLS.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self.heard = self.decrypted = b""

    def talk(self, connection: socket.socket) -> None:
        """Shake hands and listen, until the other end closes or one of us objects."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                is_alive = self._step()
                connection.sendall(self._outgoing.read())
                more = connection.recv(65536) if is_alive else b""
                if not more:
                    return
                self.heard += more
                self._incoming.write(more)

    def certificate(self) -> bytes | None:
        """The certificate the other end showed, if it did."""
        with contextlib.suppress(ValueError):
            return self._tls.getpeercert(binary_form=True)
        return None

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
            self.decrypted += self._tls.read(65536)
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            return False
        return True
