"""To a peer, step by step: name, connection, protocol, room and secret, version, identity, clock, and the way back.

It dials as a node does, with this box's own certificate, for a purpose under which nothing is exchanged, so a link
between the two nodes is not disturbed. Only if that fails it knocks once more with a bare connection, to tell a closed
port from a swallowed one.
"""

from __future__ import annotations

import asyncio
import errno
import platform
import secrets
import socket
from typing import TYPE_CHECKING

from fleet_app.addresses import is_loopback
from fleet_app.doctor import words
from fleet_app.doctor.findings import Examination, Finding, blocked, note, ok
from fleet_app.doctor.way_back import way_back
from propagul.errors import ClosedError, IdentityError, LinkError
from propagul.link import Address, Credentials, Identity, Purpose, RoomAuthority, TcpTransport

if TYPE_CHECKING:
    from fleet_app.doctor.box import Box, Member

STEP_S = 5.0
"""How long each step may take."""

_KNOCK_S = 4.0  # more than the 3 s after which Linux says that nobody on the LAN has an address
_SKEW_NOTED_S = 10.0
_SKEW_MAX_S = 300.0


class _StopError(Exception):
    """Something stands in the way; further steps would tell nothing."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


async def examine_peer(box: Box, target: Address) -> Examination:
    """Go to an address until something stands in the way, and say what; then look at this box's own firewalls."""
    found = await _examine(box, target, box.member_at(target))
    if not found.is_healthy or is_loopback(target.host):
        return found
    return Examination(of=found.of, findings=found.findings + box.firewalls)


async def _examine(box: Box, target: Address, member: Member | None) -> Examination:
    findings: list[Finding] = []
    try:
        await _climb(box, target, member, findings)
    except _StopError as stop:
        findings.append(stop.finding)
    return Examination(of=f"{member.name} at {target}" if member else str(target), findings=tuple(findings))


async def examine_member(box: Box, member: Member) -> Examination:
    """Go to the addresses that a member told; the first that works is enough, else the one that led furthest counts.

    The firewalls of this box are left out: they are the same for every member.
    """
    if not member.listens:
        return Examination(of=member.name, findings=(note("address", "it has told no address it can be reached at"),))
    furthest: Examination | None = None
    for address in member.listens:
        found = await _examine(box, address, member)
        if furthest is None or _rank(found) > _rank(furthest):
            furthest = found
        if found.is_healthy:
            break
    assert furthest is not None
    return furthest


def _rank(examination: Examination) -> tuple[bool, int]:
    return examination.is_healthy, len(examination.findings)


async def _climb(box: Box, target: Address, member: Member | None, findings: list[Finding]) -> None:
    place = await _resolve(target)
    if place.host != target.host:
        findings.append(ok("address", f"{target.host} is {place.host}"))
    peer = await _dial(box, target, place, findings)
    findings.append(ok("version", "it speaks the same version as this box"))
    findings.append(_identity(box, target, member, peer))
    seen = member or next((known for known in box.peers if known.id == peer), None)
    findings.extend(_clock(box, seen))
    findings.extend(way_back(box, place))


async def _resolve(target: Address) -> Address:
    """Return where a name leads first; the address itself if it is none."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STEP_S):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise _StopError(words.name_unknown(target)) from None
    return Address(str(found[0][4][0]), target.port)


async def _dial(box: Box, target: Address, place: Address, findings: list[Finding]) -> str:
    """Open a link and close it; return who answered, empty if it did not say."""
    credentials = box.credentials or _nobody()
    transport = TcpTransport(credentials, handshake_timeout_s=STEP_S)
    peer = ""
    try:
        link = await transport.dial(target, Purpose.QUERY)
        peer = link.peer
        await link.aclose()
    except IdentityError:
        findings.append(ok("port", f"a node answers at {target}"))
        raise _StopError(words.foreign(box)) from None
    except LinkError as error:
        await _explain(box, target, place, str(error), findings)
    except ClosedError:
        pass  # it hung up after the link was open, which is all that is asked
    findings.append(ok("port", f"a node answers at {target}"))
    findings.append(ok("secret", "it belongs to the same fleet"))
    return peer


async def _explain(box: Box, target: Address, place: Address, sentence: str, findings: list[Finding]) -> None:
    """Return if the refusal proves that room, secret and version fit; raise what stands in the way otherwise.

    The link says what it met in sentences for people; a test holds each of those below against a real peer.
    """
    if "serves no links for" in sentence:  # an earlier version, which refuses the purpose after it has checked the rest
        return
    if "this node itself" in sentence:
        raise _StopError(words.this_box(target) if box.is_own(place) else words.copied_identity(target))
    if "protocol version" in sentence:
        findings.append(ok("port", f"a node answers at {target}"))
        findings.append(ok("secret", "it belongs to the same fleet"))
        raise _StopError(words.other_version())
    problem = await _knock(target)
    if problem is not None:
        raise _StopError(words.no_connection(target, problem, mac_version=platform.mac_ver()[0]))
    if "does not speak this protocol" in sentence:
        raise _StopError(words.another_program(target))
    if "hung up" in sentence:
        raise _StopError(words.hangs_up(target))
    raise _StopError(words.says_nothing(target))


async def _knock(target: Address) -> OSError | None:
    """Connect and hang up; return what the system said against it. A timeout is one of those."""
    try:
        async with asyncio.timeout(_KNOCK_S):
            _, writer = await asyncio.open_connection(*target)
    except TimeoutError:
        return TimeoutError(errno.ETIMEDOUT, "no answer")
    except OSError as error:
        return error
    writer.transport.abort()
    return None


def _nobody() -> Credentials:
    """A member of a room that nobody else is in: enough to see that a node answers."""
    authority = RoomAuthority.from_secret("doctor", secrets.token_urlsafe(32))
    return Credentials.from_authority(Identity.generate(), authority)


def _identity(box: Box, target: Address, member: Member | None, peer: str) -> Finding:
    if not peer:
        return note("identity", "it is an older version, which does not say here who it is")
    if member is not None and member.id != peer:
        raise _StopError(words.somebody_else(target, member.name, box.name_of(peer)))
    return ok("identity", f"it is {box.name_of(peer)}" + (", as expected" if member else ""))


def _clock(box: Box, member: Member | None) -> list[Finding]:
    ahead_s = None if member is None else member.ahead_s(box.now_s)
    if ahead_s is None or abs(ahead_s) < _SKEW_NOTED_S:
        return [] if ahead_s is None else [ok("clock", "its clock and ours agree")]
    says = f"its clock is {words.span(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} ours"
    judge = blocked if abs(ahead_s) > _SKEW_MAX_S else note
    return [judge("clock", says, "set the wrong one right; on Linux: sudo timedatectl set-ntp true")]
