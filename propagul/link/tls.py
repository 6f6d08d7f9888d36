"""TLS on the loop's own transports, and what a handshake's failure means.

asyncio drops the connection before the alert of a failed verification is sent, so the refused end would see a reset
and could not tell another room from a broken cable. `OutspokenSSLObject` holds the failure back until the peer has
read the alert and hung up; `upgrade` then reports the failure that came first. It also lets one end close while the
other still talks, which asyncio answers with a reset that destroys what was sent last.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import ssl
from typing import Final

_FOREIGN_ALERTS: Final = (
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_DECRYPT_ERROR",
    "CERTIFICATE_VERIFY_FAILED",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE",
)
SHUTDOWN_S: Final = 2.0
"""How long a closing connection waits for the peer's goodbye."""


_DROPPED_BYTES: Final = 1 << 16


class Cause(enum.StrEnum):
    """Why a connection became no link, in words for people."""

    FOREIGN = "another room or another secret"
    GARBAGE = "not speaking this protocol"
    HUNG_UP = "hung up during the handshake"


def cause_of(error: BaseException | None) -> Cause:
    """Tell what a failed handshake or a broken connection means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause.FOREIGN
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        reason = error.reason or ""
        return Cause.FOREIGN if reason.endswith(_FOREIGN_ALERTS) else Cause.GARBAGE
    return Cause.HUNG_UP


class Verdict:
    """Whether this end refused the peer's certificate."""

    __slots__ = ("is_foreign",)

    def __init__(self) -> None:
        self.is_foreign = False


_verdict: contextvars.ContextVar[Verdict | None] = contextvars.ContextVar("propagul_link_verdict", default=None)


class OutspokenSSLObject(ssl.SSLObject):
    """Lets the alert of a failed verification reach the peer.

    The first failure asks for more bytes, upon which the loop sends what OpenSSL has to say; any further byte, or the
    peer's end of the connection, then ends the handshake.
    """

    _refused = False
    _said_goodbye = False

    def do_handshake(self) -> None:
        """Do a step of the handshake."""
        if self._refused:
            raise _refusal()
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError:
            verdict = _verdict.get()
            if verdict is None:
                raise
            self._refused = verdict.is_foreign = True
            raise ssl.SSLWantReadError from None

    def unwrap(self) -> None:
        """Say goodbye, then drop what the peer still sends until it says so too.

        RFC 8446, 6.1: a goodbye closes one direction. OpenSSL's shutdown fails on application data, so it is read
        away first, and shutdown is asked again only when the peer's goodbye has come.
        """
        try:
            while self.read(_DROPPED_BYTES):
                pass
        except ssl.SSLWantReadError:
            if self._said_goodbye:
                raise
        except ssl.SSLZeroReturnError:
            pass  # it has come
        self._said_goodbye = True
        super().unwrap()


async def upgrade(
    raw: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    verdict: Verdict,
    *,
    server_side: bool,
    timeout_s: float,
) -> asyncio.Transport:
    """Do the TLS handshake on an open connection and return the transport to use from then on.

    The caller limits the time of the whole; `timeout_s` only keeps a forgotten handshake from living for ever. If the
    caller's time ends while the peer still reads our alert, `verdict` says what the handshake failed of.

    Raises:
        OSError: The handshake failed; `cause_of` says what that means. Includes `ssl.SSLError`.
    """
    token = _verdict.set(verdict)
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(
            raw,
            protocol,
            context,
            server_side=server_side,
            ssl_handshake_timeout=timeout_s,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
    except OSError as error:
        # Its traceback leads to the loop's frame, which leads to it: only the collector could free the connection.
        error.__traceback__ = None
        raise _refusal() if verdict.is_foreign else error from None
    finally:
        _verdict.reset(token)
    if transport is None or transport.is_closing():
        raise _refusal() if verdict.is_foreign else ConnectionResetError("closed during the handshake")
    return transport


def _refusal() -> ssl.SSLError:
    """The failure of a handshake in which this end refused the peer's certificate."""
    return ssl.SSLCertVerificationError("the peer's certificate is of no authority that is trusted here")
