"""What is read out of what firewalls print. `recorded/` says of each file whether it was captured or derived."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fleet_app._system import printed_by
from fleet_app.doctor import firewalls
from fleet_app.doctor.tools import firewall_findings

if TYPE_CHECKING:
    from fleet_app.doctor import Finding

RECORDED = Path(__file__).with_name("recorded")


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def verdict(finding: Finding | None) -> str:
    """The verdict in one word; `off` if there is no firewall."""
    if finding is None:
        return "off"
    assert finding.subject == "firewall"
    assert finding.verdict == "ok" or finding.remedy, "something to do"
    return finding.verdict


@pytest.mark.parametrize(
    ("file", "port", "expected"),
    [
        ("ufw-inactive.txt", 8788, "off"),
        ("ufw-active.txt", 8788, "blocked"),
        ("ufw-active.txt", 8080, "ok"),
        ("ufw-active.txt", 9005, "ok"),
        ("ufw-active.txt", 6000, "blocked"),
        ("ufw-active.txt", 443, "ok"),
        ("ufw-active.txt", 5353, "blocked"),
        ("ufw-active.txt", 7000, "blocked"),
        ("ufw-allows.txt", 8788, "ok"),
        ("ufw-allows.txt", 23, "blocked"),
    ],
)
def test_ufw_as_root_sees_it(file: str, port: int, expected: str) -> None:
    assert verdict(firewalls.ufw(recorded(file), "ENABLED=yes\n", port)) == expected


@pytest.mark.parametrize(
    ("conf", "expected"),
    [("# ENABLED=yes\nENABLED=no\n", "off"), ("LOGLEVEL=low\nENABLED=yes\n", "unknown"), ("", "off")],
)
def test_ufw_as_anybody_else_sees_it(conf: str, expected: str) -> None:
    found = firewalls.ufw(recorded("ufw-not-root.txt"), conf, 8788)
    assert verdict(found) == expected
    assert found is None or found.remedy == "sudo ufw allow 8788/tcp"


@pytest.mark.parametrize(
    ("state", "zone", "port", "expected"),
    [
        ("not running\n", "", 8788, "off"),
        ("", "", 8788, "off"),
        ("running\n", "firewalld-public.txt", 8788, "blocked"),
        ("running\n", "firewalld-public.txt", 8080, "ok"),
        ("running\n", "firewalld-public.txt", 514, "blocked"),
        ("running\n", "firewalld-workstation.txt", 8788, "ok"),
        ("running\n", "firewalld-trusted.txt", 8788, "ok"),
        ("running\n", "firewalld-refuses.txt", 8788, "unknown"),
    ],
)
def test_firewalld(state: str, zone: str, port: int, expected: str) -> None:
    found = firewalls.firewalld(state, recorded(zone) if zone else "", port)
    assert verdict(found) == expected
    if expected == "blocked":
        assert found is not None
        assert found.remedy.startswith(f"sudo firewall-cmd --permanent --add-port={port}/tcp")


@pytest.mark.parametrize(
    ("file", "port", "expected"),
    [
        ("nft-empty.json", 8788, "off"),
        ("nft-drop.json", 8788, "blocked"),
        ("nft-drop.json", 22, "ok"),
        ("nft-drop.json", 80, "ok"),
        ("nft-drop.json", 8100, "ok"),
        ("nft-drop.json", 53, "blocked"),
        ("nft-reject-last.json", 8788, "blocked"),
        ("nft-reject-last.json", 22, "ok"),
        ("nft-one-port.json", 8788, "blocked"),
        ("nft-one-port.json", 8789, "off"),
        ("nft-set.json", 8788, "unknown"),
        ("nft-jump.json", 8788, "ok"),
        ("nft-forward-only.json", 8788, "off"),
        ("nft-not-root.txt", 8788, "off"),
    ],
)
def test_nftables(file: str, port: int, expected: str) -> None:
    found = firewalls.nftables(recorded(file), port)
    assert verdict(found) == expected
    if expected == "blocked":
        assert found is not None
        assert found.remedy.startswith("sudo nft insert rule inet filter input tcp dport ")


@pytest.mark.parametrize(
    ("file", "port", "expected"),
    [
        ("iptables-open.txt", 8788, "off"),
        ("iptables-drop.txt", 8788, "blocked"),
        ("iptables-drop.txt", 22, "ok"),
        ("iptables-drop.txt", 9001, "ok"),
        ("iptables-drop.txt", 53, "blocked"),
        ("iptables-reject-last.txt", 8788, "blocked"),
        ("iptables-not-root.txt", 8788, "off"),
    ],
)
def test_iptables(file: str, port: int, expected: str) -> None:
    assert verdict(firewalls.iptables(recorded(file), port)) == expected


@pytest.mark.parametrize(
    ("profile", "rule", "category", "expected", "says"),
    [
        ("windows-off.txt", "", "Private", "off", ""),
        ("windows-private.txt", "", "Private", "unknown", "has no rule of ours for port 8788"),
        ("windows-private.txt", "windows-rule.txt", "Private", "ok", "lets others in"),
        ("windows-public.txt", "windows-rule.txt", "Public", "blocked", "public one"),
        ("windows-german.txt", "", "Private", "unknown", "has no rule"),
        ("windows-german.txt", "", "", "unknown", "has no rule"),
    ],
)
def test_windows(profile: str, rule: str, category: str, expected: str, says: str) -> None:
    found = firewalls.windows(recorded(profile), recorded(rule) if rule else "", f"{category}\r\n", 8788)
    assert verdict(found) == expected
    assert found is None or says in found.says


def test_the_rule_for_windows_is_the_one_that_is_looked_for() -> None:
    found = firewalls.windows(recorded("windows-private.txt"), "", "Private", 9000)
    assert found is not None
    assert f"name={firewalls.WINDOWS_RULE} dir=in action=allow protocol=TCP localport=9000" in found.remedy


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("Firewall is disabled. (State = 0)\n", "off"),
        ("Firewall is enabled. (State = 1)\n", "unknown"),
        ("Firewall is blocking all non-essential incoming connections. (State = 2)\n", "blocked"),
        ("", "off"),
    ],
)
def test_macos(state: str, expected: str) -> None:
    found = firewalls.macos(state, "/opt/python3")
    assert verdict(found) == expected
    if expected == "unknown":
        assert found is not None
        assert "--add '/opt/python3'" in found.remedy
        assert "--unblockapp '/opt/python3'" in found.remedy


def test_every_recording_says_where_it_comes_from() -> None:
    told = recorded("README.md")
    names = {path.name for path in RECORDED.iterdir()} - {"README.md"}
    assert len(names) > 15
    assert {name for name in names if f"`{name}`" not in told} == set()


def test_a_tool_that_is_not_here_hangs_or_fails_is_no_error() -> None:
    assert printed_by("no-such-tool-anywhere") is None
    assert printed_by("sleep", "30", timeout_s=0.05) is None
    failed = printed_by("ls", "/no/such/directory")
    assert failed is not None
    assert failed.code != 0
    assert "No such file" in failed.text


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_on_a_system_without_its_tools_nothing_is_claimed(platform: str) -> None:
    assert firewall_findings(8788, platform) == ()
