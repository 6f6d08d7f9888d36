"""This box alone: its node, directory, secret, port, what it announces, its firewalls, clock and exposed engines."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleet_app.addresses import free_port_near
from fleet_app.doctor.exposed import exposed
from fleet_app.doctor.findings import Examination, Finding, blocked, note, ok
from fleet_app.doctor.tools import clock_is_synchronised
from fleet_app.errors import ConfigError
from propagul.errors import IdentityError, LinkError
from propagul.link import Purpose, TcpTransport

if TYPE_CHECKING:
    from fleet_app.doctor.box import Box

_RELEASED_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No clock that is right is before this."""

_STEP_S = 5.0


async def examine_here(box: Box, *, elsewhere: str = "") -> Examination:
    """Look at everything that can be seen without another machine.

    Args:
        box: This box.
        elsewhere: Where a node runs that this command was not pointed at, in words; empty if nowhere.
    """
    findings = [_node(box, elsewhere), *_data(box), *_secret(box)]
    findings.append(_port(box) if box.node is None else await _open_port(box))
    findings.extend(_address(box))
    findings.extend(box.firewalls)
    findings.append(judge_clock(time.time(), synchronised=clock_is_synchronised()))
    findings.extend(await exposed(box))
    return Examination(of="this box", findings=tuple(findings))


def _node(box: Box, elsewhere: str) -> Finding:
    if box.node_trouble:
        return blocked("node", box.node_trouble, "stop it and start it again: propagul fleet up")
    if box.node is not None:
        return ok("node", f'the node "{box.node.name}" runs here')
    says = "no node runs here" + (f", but {elsewhere}" if elsewhere else "")
    return blocked("node", says, "propagul fleet up")


def _data(box: Box) -> list[Finding]:
    path = box.settings.data_dir
    if box.membership_trouble:
        return [blocked("data", box.membership_trouble, "mend that, then start the node: propagul fleet up")]
    if not path.exists():
        return []
    if not path.is_dir():
        return [blocked("data", f"{path} is no directory", "name another one: propagul fleet up --data-dir DIR")]
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return [blocked("data", f"this user may not write to {path}", "run the node as the user who owns it")]
    return [ok("data", f"{path} can be used")]


def _secret(box: Box) -> list[Finding]:
    if box.credentials is None:
        return []
    authority = box.credentials.authority
    if authority is None:
        return [ok("secret", "this box was invited into its fleet, and holds no secret")]
    if authority.stretched:
        remedy = "use one of 22 random characters or more for your next fleet: openssl rand -base64 32"
        return [note("secret", "the secret of this fleet is weak: a patient stranger may guess it", remedy)]
    return [ok("secret", "this box holds the secret of its fleet")]


def _port(box: Box) -> Finding:
    listen = box.settings.listen
    try:
        free = free_port_near(listen.host, listen.port, 1) if listen.port else 0
    except ConfigError as error:
        judge = blocked if box.settings.listen_given else note
        return judge("port", str(error).partition(";")[0], "choose another one: propagul fleet up --listen HOST:PORT")
    return ok("port", f"port {free} is free for a node")


async def _open_port(box: Box) -> Finding:
    """Knock at our own door: our node recognises its own identity, which proves port, protocol and secret at once."""
    if box.credentials is None or not box.announced:
        return note("port", "whether the node's port is open cannot be told from here")
    address = box.announced[0]
    remedy = "stop the node and start it again: propagul fleet up"
    try:
        link = await TcpTransport(box.credentials, handshake_timeout_s=_STEP_S).dial(address, Purpose.QUERY)
    except IdentityError:
        return blocked("secret", f"a node of another fleet answers at {address}, where ours should", remedy)
    except LinkError as error:
        if "this node itself" in str(error):
            return ok("port", f"the node answers at {address}")
        return blocked("port", f"the node does not answer at {address}", remedy)
    link.abort()
    return blocked("port", f"another node answers at {address}, where ours should", remedy)


def _address(box: Box) -> list[Finding]:
    if box.node is None:
        return []
    told = ", ".join(map(str, box.announced))
    if box.is_for_itself:
        remedy = f"start the node with: propagul fleet up --listen 0.0.0.0:{box.port}"
        return [blocked("address", f"other boxes cannot reach this one: it listens at {told} only", remedy)]
    return [ok("address", f"other boxes are told to reach it at {told}")]


def judge_clock(now_s: float, *, synchronised: bool | None) -> Finding:
    """Judge the wall clock: by the calendar, and by what the system says of time servers. Pure."""
    remedy = "set it right; on Linux: sudo timedatectl set-ntp true"
    today = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now_s < _RELEASED_S:
        return blocked("clock", f"the clock of this box says {today}, which is long past", remedy)
    if synchronised is False:
        return note("clock", f"the clock says {today}, and no time server keeps it right", remedy)
    return ok("clock", f"the clock says {today}")
