"""What the doctor says of its own box."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleet_app.doctor import examine_here, look
from fleet_app.doctor.findings import unknown
from fleet_app.doctor.here import judge_clock
from fleet_app.doctor.way_back import judge_announcement
from fleet_app.doctor.words import no_connection, span
from propagul.link import Address, TcpTransport
from tests.doctor.rig import fellow, foreigner, member, open_to, running, settings_of, verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.doctor import Examination

WEAK = "aaaabbbbcccc"


def says(examination: Examination, subject: str) -> str:
    return next(finding.says for finding in examination.findings if finding.subject == subject)


def test_a_box_on_which_nothing_was_ever_started_is_told_to_start(tmp_path: Path) -> None:
    found = asyncio.run(examine_here(look(settings_of(tmp_path / "new")), elsewhere="another one does"))
    assert (found.findings[0].subject, found.findings[0].verdict) == ("node", "blocked")
    assert found.findings[0].says == "no node runs here, but another one does"
    assert found.findings[0].remedy == "propagul fleet up"
    assert not (tmp_path / "new").exists()


def open_door(path: Path, kind: str) -> Examination:
    """Examine a box whose announced address is answered by itself, a fellow, a foreigner or nobody."""

    async def scenario() -> Examination:
        box = await member(path)
        assert box.credentials is not None
        if kind == "nobody":
            return await examine_here(running(box, "127.0.0.1:1"))
        peers = {"itself": TcpTransport(box.credentials), "fellow": fellow(box), "foreigner": foreigner()}
        async with open_to(peers[kind]) as listener:
            return await examine_here(running(box, str(listener.address)))

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("kind", "subject", "verdict", "text"),
    [
        ("itself", "port", "ok", "the node answers at 127.0.0.1:"),
        ("nobody", "port", "blocked", "does not answer"),
        ("fellow", "port", "blocked", "another node answers"),
    ],
)
def test_the_own_door_is_knocked_at(tmp_path: Path, kind: str, subject: str, verdict: str, text: str) -> None:
    found = open_door(tmp_path, kind)
    assert verdicts(found)[subject] == verdict
    assert text in says(found, subject)


def test_a_foreigner_behind_the_own_door_is_noticed(tmp_path: Path) -> None:
    found = open_door(tmp_path, "foreigner")
    assert any("a node of another fleet answers" in finding.says for finding in found.findings)


def test_a_node_that_nobody_else_can_reach_is_told_what_to_type(tmp_path: Path) -> None:
    found = open_door(tmp_path, "itself")
    address = next(finding for finding in found.findings if finding.subject == "address")
    assert address.verdict == "blocked"
    assert "--listen 0.0.0.0:" in address.remedy


def test_a_weak_secret_is_noted_and_not_shown(tmp_path: Path) -> None:
    box = look(settings_of(tmp_path, PROPAGUL_GOSSIP_SECRET=WEAK))
    found = asyncio.run(examine_here(box))
    assert verdicts(found)["secret"] == "note"
    assert WEAK not in repr(found)


def test_a_membership_that_others_may_read_is_said_with_its_file(tmp_path: Path) -> None:
    asyncio.run(member(tmp_path))
    (tmp_path / "room-secret").chmod(0o644)
    found = asyncio.run(examine_here(look(settings_of(tmp_path))))
    assert verdicts(found)["data"] == "blocked"
    assert "room-secret" in says(found, "data")


def test_a_directory_that_is_none_is_said_as_that(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = asyncio.run(examine_here(look(settings_of(tmp_path / "file"))))
    assert verdicts(found)["data"] == "blocked"
    assert str(tmp_path / "file") in says(found, "data")


def test_a_clock_from_before_this_program_was_written_is_wrong() -> None:
    assert judge_clock(1e9, synchronised=None).verdict == "blocked"
    assert "2001-09-09" in judge_clock(1e9, synchronised=True).says
    assert judge_clock(2e9, synchronised=None).verdict == "ok"
    assert judge_clock(2e9, synchronised=True).verdict == "ok"
    assert judge_clock(2e9, synchronised=False).verdict == "note"


@pytest.mark.parametrize(
    ("announced", "peer", "from_host", "expected"),
    [
        (("192.168.1.5:8788",), "192.168.1.7", "192.168.1.5", "ok: over which the two are connected"),
        (("192.168.1.5:8788", "100.64.0.1:8788"), "100.64.0.2", "100.64.0.1", "ok: 100.64.0.1:8788"),
        (("192.168.1.5:8788",), "10.0.0.7", "10.0.0.5", "note: reaches it from 10.0.0.5"),
        (("192.168.1.5:8788",), "93.184.216.34", "10.0.0.5", "note: far away"),
        (("127.0.0.1:8788",), "192.168.1.7", "192.168.1.5", "blocked: for this box only"),
    ],
)
def test_the_way_back_is_judged_by_what_is_announced(
    tmp_path: Path, announced: tuple[str, ...], peer: str, from_host: str, expected: str
) -> None:
    box = running(look(settings_of(tmp_path)), *announced)
    found = judge_announcement(box, Address(peer, 8788), from_host=from_host)
    verdict, _, text = expected.partition(": ")
    assert (found.subject, found.verdict) == ("address", verdict)
    assert text in found.says


@pytest.mark.parametrize(
    ("host", "mac_version", "is_told"),
    [
        ("192.168.1.7", "15.1", True),
        ("box.local", "26.0", True),
        ("192.168.1.7", "14.6", False),
        ("192.168.1.7", "", False),
        ("93.184.216.34", "15.1", False),
    ],
)
def test_on_a_mac_a_lan_that_does_not_answer_may_be_its_own_privacy(
    host: str,
    mac_version: str,
    is_told: bool,  # noqa: FBT001
) -> None:
    for problem in (TimeoutError(110, "no answer"), OSError(113, "no route")):
        found = no_connection(Address(host, 8788), problem, mac_version=mac_version)
        assert ("Local Network" in found.remedy) == is_told
    refused = no_connection(Address(host, 8788), ConnectionRefusedError(111, "refused"), mac_version=mac_version)
    assert refused.subject == "port"


def test_spans_read_well() -> None:
    assert [span(s) for s in (11, 119, 120, 7200, 200_000)] == [
        "11 seconds", "119 seconds", "2 minutes", "2 hours", "2 days",
    ]  # fmt: skip


def test_an_unknown_firewall_stands_in_nobodys_way(tmp_path: Path) -> None:
    box = running(look(settings_of(tmp_path)))
    found = asyncio.run(examine_here(box))
    healthy = found.is_healthy
    with_doubt = type(found)(of=found.of, findings=(*found.findings, unknown("firewall", "who knows")))
    assert with_doubt.is_healthy == healthy
