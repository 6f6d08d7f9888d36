"""What the tools of firewalls print, read into findings. Pure: text in, a finding out, None where there is no firewall.

A firewall that is on and whose rules cannot be read is `unknown`, never guessed. Each remedy opens our port and no
other, and does no harm where it is open already.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fleet_app.doctor.findings import Finding, blocked, ok, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

MAC_TOOL = "/usr/libexec/ApplicationFirewall/socketfilterfw"
WINDOWS_RULE = "Propagul"
"""The name of the rule that our command makes, and that is looked for."""

_UFW_ROW = re.compile(r"(?P<to>\S.*?)\s{2,}(?P<action>ALLOW|LIMIT|DENY|REJECT)(?P<way> IN| OUT| FWD)?\s{2,}\S")


def ufw(status: str, conf: str, port: int) -> Finding | None:
    """Read `ufw status verbose`, which only root may ask, and else `/etc/ufw/ufw.conf`, which everybody may read."""
    remedy = f"sudo ufw allow {port}/tcp"
    if "Status: inactive" in status:
        return None
    if "Status: active" not in status:
        is_on = re.search(r"^\s*ENABLED\s*=\s*[\"']?yes\b", conf, re.MULTILINE | re.IGNORECASE)
        return _cannot_tell("ufw", port, remedy) if is_on else None
    rows = (_UFW_ROW.match(line) for line in status.splitlines())
    actions = [row["action"] for row in rows if row and row["way"] in (None, " IN") and _ufw_covers(row["to"], port)]
    default = "ALLOW" if re.search(r"^Default: allow \(incoming\)", status, re.MULTILINE) else "DENY"
    if (actions or [default])[0] in {"ALLOW", "LIMIT"}:  # the first rule that fits decides
        return _open("ufw", port)
    return _closed("ufw", port, remedy)


def firewalld(state: str, zone: str, port: int) -> Finding | None:
    """Read `firewall-cmd --state` and `firewall-cmd --list-all`, which shows the default zone."""
    if state.split()[:1] != ["running"]:
        return None
    remedy = f"sudo firewall-cmd --permanent --add-port={port}/tcp && sudo firewall-cmd --reload"
    fields = dict(re.findall(r"^\s+([\w-]+): ?(.*)$", zone, re.MULTILINE))
    if "ports" not in fields:
        return _cannot_tell("firewalld", port, remedy)
    if fields.get("target") == "ACCEPT" or any(_covers(text, port, "-") for text in fields["ports"].split()):
        return _open("firewalld", port)
    return _closed("firewalld", port, remedy)


def iptables(rules: str, port: int) -> Finding | None:
    """Read `iptables -S INPUT`, which only root may ask."""
    lines = rules.splitlines()
    shut = {"-A INPUT -j DROP", "-A INPUT -j REJECT"}
    closed = "-P INPUT DROP" in lines or any(line.split(" --reject-with")[0] in shut for line in lines)
    if not closed:
        return None
    if any(_iptables_accepts(line, port) for line in lines):
        return _open("iptables", port)
    return _closed("iptables", port, f"sudo iptables -I INPUT -p tcp --dport {port} -j ACCEPT")


def nftables(ruleset: str, port: int) -> Finding | None:
    """Read `nft -j list ruleset`, which only root may ask (libnftables-json(5)).

    Chains that iptables made are left to it: they hold its own kind of matches, which nft cannot print.
    """
    try:
        items = json.loads(ruleset)["nftables"]
    except (ValueError, KeyError, TypeError):
        return None
    rules = [item["rule"] for item in items if "rule" in item]
    entrances = [item["chain"] for item in items if "chain" in item and item["chain"].get("hook") == "input"]
    let_in = None
    for chain in entrances:
        own = [rule for rule in rules if _place(rule, "chain") == _place(chain, "name")]
        if any("xt" in expression for rule in own for expression in rule["expr"]):
            continue
        decision = next(filter(None, (_nft_decides(rule, port) for rule in own)), None)
        if decision == "accept" or any(_nft_decides(rule, port, by_port=True) == "accept" for rule in rules):
            let_in = _open("nftables", port)
        elif (decision or chain.get("policy")) in {"drop", "reject"}:
            place = f"{chain['family']} {chain['table']} {chain['name']}"
            remedy = f"sudo nft insert rule {place} tcp dport {port} accept"
            refers = '"@' in json.dumps([rule["expr"] for rule in rules])  # to a set, whose ports stand elsewhere
            return _cannot_tell("nftables", port, remedy) if refers else _closed("nftables", port, remedy)
    return let_in


def windows(profile: str, rule: str, category: str, port: int) -> Finding | None:
    """Read `netsh advfirewall show currentprofile`, `... firewall show rule` and `Get-NetConnectionProfile`.

    The first is in the system's language but for the policy; the second is empty if there is no such rule.
    """
    if re.search(r"^State\s+OFF", profile, re.MULTILINE) or "BlockInbound" not in profile:
        return None
    is_public = "Public" in category.split()
    if rule and not is_public:
        return _open("the firewall of Windows", port)
    if is_public:
        return blocked(
            "firewall",
            "Windows takes this network for a public one, and keeps other boxes out",
            "in PowerShell as administrator: Get-NetConnectionProfile -NetworkCategory Public "
            "| Set-NetConnectionProfile -NetworkCategory Private",
        )
    remedy = (
        f"in a terminal as administrator: netsh advfirewall firewall add rule name={WINDOWS_RULE} dir=in action=allow "
        f"protocol=TCP localport={port} profile=private,domain"
    )
    return unknown("firewall", f"the firewall of Windows is on and has no rule of ours for port {port}", remedy)


def macos(state: str, python: str) -> Finding | None:
    """Read `socketfilterfw --getglobalstate`. It knows programs and no ports, so ours is the Python that runs us."""
    found = re.search(r"State = (\d)", state)
    if found is None or found[1] == "0":
        return None
    remedy = f"sudo {MAC_TOOL} --add '{python}' && sudo {MAC_TOOL} --unblockapp '{python}'"
    if found[1] == "2":
        return blocked(
            "firewall",
            "the firewall of macOS blocks all incoming connections",
            "turn off `Block all incoming connections` in System Settings > Network > Firewall > Options",
        )
    return unknown("firewall", "the firewall of macOS is on and may keep others out until Python is allowed", remedy)


def _open(name: str, port: int) -> Finding:
    return ok("firewall", f"{name} lets others in at port {port}")


def _closed(name: str, port: int, remedy: str) -> Finding:
    return blocked("firewall", f"{name} is on and lets nobody in at port {port}", remedy)


def _cannot_tell(name: str, port: int, remedy: str) -> Finding:
    return unknown("firewall", f"{name} is on, and whether it lets others in at port {port} only root can see", remedy)


def _ufw_covers(to: str, port: int) -> bool:
    """Whether the first column of a row means our port: `8788`, `8000:9000/tcp`, `22,8788/tcp`, `Anywhere`."""
    if "(v6)" in to:
        return False
    words = to.split(" on ", maxsplit=1)[0].split()
    return words == ["Anywhere"] or any(_covers(text, port, ":") for text in words[-1].split(",") if text)


def _covers(text: str, port: int, dash: str) -> bool:
    """Whether `port`, `low-high` or one of them with a protocol is or holds our TCP port."""
    numbers, _, protocol = text.partition("/")
    low, _, high = numbers.partition(dash)
    return protocol in {"", "tcp"} and low.isdigit() and int(low) <= port <= int(high if high.isdigit() else low)


def _iptables_accepts(rule: str, port: int) -> bool:
    ports = re.search(r"--dports? (\S+)", rule)
    named = ports is not None and any(_covers(text, port, ":") for text in ports[1].split(","))
    return named and rule.endswith("-j ACCEPT") and "-p udp" not in rule


def _place(item: Mapping[str, Any], name: str) -> tuple[object, ...]:
    return item.get("family"), item.get("table"), item.get(name)


def _nft_decides(rule: Mapping[str, Any], port: int, *, by_port: bool = False) -> str | None:
    """What a rule does with a new connection to our port: `accept`, `drop`, `reject`; None if it is not about that.

    A rule without a condition is about everything, unless only rules that name the port are asked for.
    """
    matches = [expression["match"] for expression in rule["expr"] if "match" in expression]
    named = any(_nft_names(match, port) for match in matches)
    if not named and (matches or by_port):
        return None
    words = {word for expression in rule["expr"] for word in expression}
    return next((word for word in ("accept", "drop", "reject") if word in words), None)


def _nft_names(match: Mapping[str, Any], port: int) -> bool:
    is_port = match.get("left") == {"payload": {"protocol": "tcp", "field": "dport"}}
    return is_port and match.get("op") in {"==", "in"} and _nft_holds(match.get("right"), port)


def _nft_holds(right: object, port: int) -> bool:
    match right:
        case int():
            return right == port
        case {"set": list(parts)}:
            return any(_nft_holds(part, port) for part in parts)
        case {"range": [int(low), int(high)]}:
            return low <= port <= high
        case _:
            return False
