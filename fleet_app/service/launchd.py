"""The node as an agent of launchd, which runs while its user is logged in, or as a daemon of the system.

After launchd.plist(5) and launchctl(1); not run. launchd has no limit of restarts, only a pause between them. What a
node prints for a person at a terminal, an invite among it, is not kept; its log lines are.
"""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import TYPE_CHECKING

from fleet_app.service.unit import NAME, RESTART_S, STOP_S, Service, Step

if TYPE_CHECKING:
    from fleet_app.service.unit import NodeCommand

LABEL = f"{NAME}.node"
_PATH = "/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def service(command: NodeCommand) -> Service:
    """Return the property list of a node and what registers it."""
    domain = "system" if command.system else f"gui/{command.user_id}"
    base = Path("/Library") if command.system else command.home / "Library"
    path = base / ("LaunchDaemons" if command.system else "LaunchAgents") / f"{LABEL}.plist"
    log = base / "Logs" / f"{NAME}.log"
    bootout = ("launchctl", "bootout", f"{domain}/{LABEL}")
    agent = "it runs while you are logged in; with sudo and --system it starts with the machine"
    return Service(
        kind="launchd daemon" if command.system else "launchd agent",
        path=path,
        content=plistlib.dumps(_properties(command, log)),
        start=(
            Step(command=bootout, quiet=True),
            Step(command=("launchctl", "enable", f"{domain}/{LABEL}")),
            Step(command=("launchctl", "bootstrap", domain, str(path))),
        ),
        stop=(Step(command=bootout, quiet=True),),
        logs=f'tail -f "{log}"',
        notes=() if command.system else (agent,),
    )


def _properties(command: NodeCommand, log: Path) -> dict[str, object]:
    account = {"UserName": command.user} if command.system else {}
    return {
        "Label": LABEL,
        **account,
        "ProgramArguments": list(command.words),
        "EnvironmentVariables": {"PATH": _PATH, "PYTHONUNBUFFERED": "1"},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RESTART_S,
        "ExitTimeOut": STOP_S,
        "Umask": 0o077,
        "StandardErrorPath": str(log),
    }
