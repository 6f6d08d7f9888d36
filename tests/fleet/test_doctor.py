"""`propagul doctor` between two real boxes on a LAN of their own, with real firewalls in between."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.fleet.boxes import Box, node, wait_for
from tests.fleet.netns import Namespace, cable, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ATTIC, CELLAR, NOBODY = "10.77.0.1", "10.77.0.2", "10.77.0.99"

SHUT = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
  }
}
"""
REFUSING = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport 8788 reject with icmpx type admin-prohibited
  }
}
"""


class Lan(NamedTuple):
    attic: Namespace
    cellar: Namespace


@contextlib.contextmanager
def cabled() -> Iterator[Lan]:
    """Two boxes on one cable."""
    with contextlib.ExitStack() as stack:
        both = Lan(stack.enter_context(namespace()), stack.enter_context(namespace()))
        cable(both.attic, "eth0", both.cellar, "eth0")
        both.attic.give("eth0", f"{ATTIC}/24")
        both.cellar.give("eth0", f"{CELLAR}/24")
        yield both


@pytest.fixture
def lan() -> Iterator[Lan]:
    """Two boxes on which nothing runs."""
    with cabled() as both:
        yield both


class Fleet(NamedTuple):
    lan: Lan
    attic: Box
    cellar: Box


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A node on each, and the two see each other."""
    path, everywhere = tmp_path_factory.mktemp("boxes"), "0.0.0.0:8788"
    with cabled() as lan, node("attic", path / "attic", listen=everywhere, within=lan.attic.within()) as attic:
        invite = propagul(lan.attic, "fleet", "invite", "--data-dir", str(attic.data_dir)).stdout.strip()
        within = lan.cellar.within()
        with node("cellar", path / "cellar", listen=everywhere, within=within, join=invite) as cellar:
            wait_for(lambda: reach(lan.attic, attic, "cellar") == "linked", 20)
            wait_for(lambda: reach(lan.cellar, cellar, "attic") == "linked", 20)
            yield Fleet(lan, attic, cellar)


@pytest.fixture
def fleet(linked: Fleet) -> Iterator[Fleet]:
    """Those two, without firewalls once the test is over."""
    yield linked
    if shutil.which("nft"):
        for where in linked.lan:
            where.run("nft", "flush", "ruleset")


def propagul(where: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    command = where.within(sys.executable, "-m", "fleet_app", *words)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def reach(where: Namespace, box: Box, name: str) -> str:
    answer = json.loads(propagul(where, "fleet", "status", "--json", "--data-dir", str(box.data_dir)).stdout)
    return next((seen["reach"] for seen in answer["nodes"] if seen["name"] == name), "")


def doctor(where: Namespace, path: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the findings of the doctor, each with whom it is about."""
    done = propagul(where, "doctor", "--json", "--data-dir", str(path), *words)
    assert done.stderr == "", done.stderr
    answer = json.loads(done.stdout)
    assert answer["healthy"] == (done.returncode == 0)
    return done.returncode, [{**f, "of": e["of"]} for e in answer["examinations"] for f in e["findings"]]


def blocked(findings: list[dict[str, Any]]) -> dict[str, Any]:
    found = [finding for finding in findings if finding["verdict"] == "blocked"]
    assert len(found) == 1, findings
    return found[0]


def needs_nft() -> None:
    if shutil.which("nft") is None:
        pytest.skip("needs the program nft (nftables)")


def test_two_boxes_that_see_each_other_are_healthy_from_both_ends(fleet: Fleet) -> None:
    lan, attic, cellar = fleet
    for where, box, other, host in ((lan.attic, attic, "cellar", CELLAR), (lan.cellar, cellar, "attic", ATTIC)):
        code, findings = doctor(where, box.data_dir)
        assert code == 0, findings
        assert {finding["of"] for finding in findings} == {"this box", f"{other} at {host}:8788"}
        said = {finding["says"] for finding in findings}
        assert f'it is "{other}", as expected' in said
        assert "its clock and ours agree" in said
    done = propagul(lan.attic, "doctor", CELLAR, "--data-dir", str(attic.data_dir))
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"cellar at {CELLAR}:8788"
    assert done.stdout.splitlines()[-1] == "Nothing stands in the way."
    assert propagul(lan.cellar, "fleet", "status", "--data-dir", str(cellar.data_dir)).stdout.count("turned away") == 0


@pytest.mark.long
def test_a_firewall_is_found_from_both_ends_and_the_command_that_is_shown_mends_it(fleet: Fleet) -> None:
    needs_nft()
    lan, attic, cellar = fleet
    lan.cellar.run("nft", "-f", "-", stdin=SHUT)
    code, findings = doctor(lan.attic, attic.data_dir, CELLAR)
    outside = blocked(findings)
    assert (code, outside["subject"]) == (1, "firewall")
    assert "does not answer: a firewall" in outside["says"]
    _, findings = doctor(lan.cellar, cellar.data_dir)
    inside = blocked(findings)
    assert (inside["of"], inside["subject"]) == ("this box", "firewall")
    assert inside["says"] == "nftables is on and lets nobody in at port 8788"
    lan.cellar.run(*shlex.split(inside["remedy"].removeprefix("sudo ")))
    assert doctor(lan.attic, attic.data_dir, CELLAR)[0] == 0
    code, findings = doctor(lan.cellar, cellar.data_dir)
    assert code == 0, findings
    assert "nftables lets others in at port 8788" in {finding["says"] for finding in findings}


@pytest.mark.long
def test_who_only_dials_is_told_that_the_way_back_is_shut(fleet: Fleet) -> None:
    needs_nft()
    fleet.lan.attic.run("nft", "-f", "-", stdin=SHUT)
    code, findings = doctor(fleet.lan.attic, fleet.attic.data_dir, CELLAR)
    assert (code, blocked(findings)["subject"]) == (1, "firewall")
    assert findings[0]["verdict"] == "ok"


@pytest.mark.long
def test_a_firewall_that_refuses_and_a_box_that_is_away_look_alike_and_both_are_named(lan: Lan, tmp_path: Path) -> None:
    needs_nft()
    lan.cellar.run("nft", "-f", "-", stdin=REFUSING)
    for host in (CELLAR, NOBODY):
        found = blocked(doctor(lan.attic, tmp_path / "none", host)[1])
        assert found["subject"] == "address"
        assert f"nothing answers under {host}" in found["says"]
        assert "firewall" in found["says"]


@pytest.mark.long
def test_a_network_without_a_way_is_said_as_that(lan: Lan, tmp_path: Path) -> None:
    found = blocked(doctor(lan.attic, tmp_path / "none", "203.0.113.5")[1])
    assert (found["subject"], found["says"]) == ("address", "this box has no way to the network of 203.0.113.5")
    lan.attic.run("ip", "route", "add", "prohibit", "203.0.113.0/24")
    found = blocked(doctor(lan.attic, tmp_path / "none", "203.0.113.5")[1])
    assert (found["subject"], found["remedy"].split()[0]) == ("firewall", "allow")


@pytest.mark.long
def test_a_node_that_listens_for_itself_only_is_told_what_to_type(lan: Lan, tmp_path: Path) -> None:
    within = lan.cellar.within()
    with (
        node("attic", tmp_path / "a", listen="0.0.0.0:8788", within=lan.attic.within()) as attic,
        contextlib.ExitStack() as stack,
    ):
        invite = propagul(lan.attic, "fleet", "invite", "--data-dir", str(attic.data_dir)).stdout.strip()
        cellar = stack.enter_context(node("cellar", tmp_path / "c", within=within, join=invite))
        code, findings = doctor(lan.cellar, cellar.data_dir, ATTIC)
        found = blocked(findings)
        assert (code, found["subject"]) == (1, "address")
        assert found["remedy"].startswith("start the node with: propagul fleet up --listen 0.0.0.0:")
