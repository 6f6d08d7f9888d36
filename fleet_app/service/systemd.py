"""The node as a unit of systemd: of the user, with linger so that it outlives the login, or of the system.

Quoting after systemd.syntax(7) and systemd.service(5): `%` begins a specifier everywhere, `$` a variable in arguments
and not in the program. Hardening is what a node can do without for good. Left out on purpose: whatever hides devices
(`PrivateDevices`, `DeviceAllow`, and `ProtectClock`, which implies it) takes the GPU away, `MemoryDenyWriteExecute`
breaks libraries that make code, and what needs a namespace of its own fails in user units on many systems. Log lines
go to stderr; stdout is what a person at a terminal reads, an invite among it, and has no place in a journal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from fleet_app.errors import ConfigError
from fleet_app.service.unit import (
    NAME,
    RESTART_S,
    RESTARTS_MAX,
    RESTARTS_WITHIN_S,
    STOP_S,
    SUMMARY,
    Service,
    Step,
)

if TYPE_CHECKING:
    from fleet_app.service.unit import NodeCommand

_UNIT = f"{NAME}.service"
_SYSTEM_UNITS = Path("/etc/systemd/system")
_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_REFUSED = frozenset("\"'\\")

_EVERYWHERE = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
)
_OF_SYSTEM = (
    "ProtectSystem=full",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectHostname=yes",
)


def quoted(word: str, *, program: bool = False) -> str:
    """One word of a command line in a unit."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if not program:
        text = text.replace("$", "$$")
    return text if _PLAIN.fullmatch(word) else f'"{text}"'


def service(command: NodeCommand) -> Service:
    """Return the unit of a node and what registers it.

    Raises:
        ConfigError: systemd takes no such path for a program.
    """
    if set(command.words[0]) & _REFUSED:
        raise ConfigError(f"{command.words[0]}: systemd runs no program with quotes or backslashes in its path")
    reach = ("systemctl",) if command.system else ("systemctl", "--user")
    place = _SYSTEM_UNITS if command.system else command.home / ".config/systemd/user"
    whose = "" if command.system else "--user "
    return Service(
        kind="systemd unit of the system" if command.system else "systemd unit of this user",
        path=place / _UNIT,
        content=unit_text(command).encode(),
        probe=(*reach, "show-environment"),
        absent=f"this system does not run systemd{'' if command.system else ' for users'}",
        start=(
            Step(command=(*reach, "daemon-reload")),
            Step(command=(*reach, "enable", _UNIT)),
            Step(command=(*reach, "reset-failed", _UNIT), quiet=True),
            Step(command=(*reach, "restart", _UNIT)),
            *(() if command.system else (_linger(command.user),)),
        ),
        stop=(Step(command=(*reach, "disable", "--now", _UNIT)),),
        forget=(Step(command=(*reach, "daemon-reload"), quiet=True),),
        logs=f"journalctl {whose}-u {NAME} -f",
        notes=(f"after a change of the config file that needs a restart: systemctl {whose}restart {NAME}",),
    )


def _linger(user: str) -> Step:
    trouble = f"it stops when {user} logs out, until root runs: loginctl enable-linger {user}"
    return Step(command=("loginctl", "enable-linger", user), otherwise=trouble)


def unit_text(command: NodeCommand) -> str:
    """Return the unit."""
    program, *arguments = command.words
    line = " ".join([quoted(program, program=True), *map(quoted, arguments)])
    online = ("Wants=network-online.target", "After=network-online.target") if command.system else ()
    account = (f"User={command.user}",) if command.system else ()
    hardening = (*_EVERYWHERE, *(_OF_SYSTEM if command.system else ()))
    sections = {
        "Unit": (
            f"Description={SUMMARY}",
            *online,
            f"StartLimitIntervalSec={RESTARTS_WITHIN_S}",
            f"StartLimitBurst={RESTARTS_MAX}",
        ),
        "Service": (
            "Type=exec",
            *account,
            f"ExecStart={line}",
            "ExecReload=kill -HUP $MAINPID",
            "Environment=PYTHONUNBUFFERED=1",
            "StandardOutput=null",
            "Restart=on-failure",
            f"RestartSec={RESTART_S}",
            f"TimeoutStopSec={STOP_S}",
            "UMask=0077",
            *hardening,
        ),
        "Install": (f"WantedBy={'multi-user' if command.system else 'default'}.target",),
    }
    head = "# Written by `propagul fleet install`, which replaces it; `propagul fleet uninstall` removes it.\n"
    return head + "\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())
