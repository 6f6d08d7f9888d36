"""The tools of the system that the doctor runs, and no other: each asks and changes nothing, none is given privileges.

A tool that is not here, hangs or refuses says nothing; what its silence means is decided in `firewalls`.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fleet_app._system import printed_by
from fleet_app.doctor import firewalls
from fleet_app.doctor.findings import unknown

if TYPE_CHECKING:
    from fleet_app.doctor.findings import Finding

_UFW_CONF = Path("/etc/ufw/ufw.conf")
_POWERSHELL = ("powershell", "-NoProfile", "-NonInteractive", "-Command")
_POWERSHELL_S = 15.0
_NFT = ("nft", "-j", "list", "ruleset")


def firewall_findings(port: int, platform: str = sys.platform) -> tuple[Finding, ...]:
    """Ask every firewall of this system whether it lets others in at `port`; empty if there seems to be none."""
    if platform == "win32":
        found = [_windows(port)]
    elif platform == "darwin":
        found = [firewalls.macos(_text(firewalls.MAC_TOOL, "--getglobalstate"), sys.executable)]
    else:
        found = [_ufw(port), _firewalld(port)]
        if not any(found):  # both are made of what is below
            found = [_netfilter(port)]
    return tuple(filter(None, found))


def clock_is_synchronised() -> bool | None:
    """Whether systemd says that the clock follows a time server; None where nobody can tell."""
    answer = _text("timedatectl", "show", "--property=NTPSynchronized", "--value").strip()
    return {"yes": True, "no": False}.get(answer)


def _ufw(port: int) -> Finding | None:
    conf = ""
    with contextlib.suppress(OSError):
        conf = _UFW_CONF.read_text(encoding="utf-8", errors="replace")
    return firewalls.ufw(_text("ufw", "status", "verbose"), conf, port)


def _firewalld(port: int) -> Finding | None:
    state = _text("firewall-cmd", "--state")
    return firewalls.firewalld(state, _text("firewall-cmd", "--list-all") if "running" in state else "", port)


def _netfilter(port: int) -> Finding | None:
    nft, rules = printed_by(*_NFT), printed_by("iptables", "-S", "INPUT")
    if all(printed is None or printed.code != 0 for printed in (nft, rules)) and (nft or rules):
        return unknown("firewall", "whether this box has a firewall only root can see", "sudo nft list ruleset")
    read = [
        firewalls.nftables(nft.text, port) if nft else None,
        firewalls.iptables(rules.text, port) if rules else None,
    ]
    found = [finding for finding in read if finding is not None]
    return next((finding for finding in found if finding.verdict == "blocked"), found[0] if found else None)


def _windows(port: int) -> Finding | None:
    profile = _text("netsh", "advfirewall", "show", "currentprofile")
    rule = printed_by("netsh", "advfirewall", "firewall", "show", "rule", f"name={firewalls.WINDOWS_RULE}")
    ask = "Get-NetConnectionProfile | ForEach-Object { $_.NetworkCategory }"
    category = printed_by(*_POWERSHELL, ask, timeout_s=_POWERSHELL_S)
    return firewalls.windows(
        profile,
        rule.text if rule is not None and rule.code == 0 else "",
        category.text if category is not None and category.code == 0 else "",
        port,
    )


def _text(*command: str) -> str:
    printed = printed_by(*command)
    return "" if printed is None else printed.text
