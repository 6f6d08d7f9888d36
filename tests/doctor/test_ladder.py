"""Each step to a peer, against a real one that fails at that step and at no other."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from fleet_app.doctor import examine_member, examine_peer, ladder, look
from fleet_app.doctor.box import Member
from fleet_app.presence import NodePresence
from propagul import AgentStateStore
from propagul.link import Address, Purpose, TcpTransport
from tests.doctor.rig import (
    fellow,
    foreigner,
    in_the_way,
    member,
    open_to,
    program,
    running,
    settings_of,
    standing_beside,
    verdicts,
)
from tests.link.world import listening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleet_app.doctor import Examination, Finding


def examined(path: Path, target: Address) -> Examination:
    async def scenario() -> Examination:
        return await examine_peer(running(await member(path)), target)

    return asyncio.run(scenario())


def test_a_name_that_nobody_knows_is_said_and_nothing_is_dialled(tmp_path: Path) -> None:
    found = in_the_way(examined(tmp_path, Address("no-such-box.invalid", 8788)))
    assert found.subject == "address"
    assert "no-such-box.invalid" in found.says
    assert "IP address" in found.remedy


def test_a_closed_port_is_no_firewall(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    found = in_the_way(examined(tmp_path, Address("127.0.0.1", port)))
    assert (found.subject, found.says) == ("port", f"127.0.0.1 is there, but nothing listens at port {port}")
    assert found.remedy == "on that box, run: propagul fleet up"


def against(path: Path, serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> Finding:
    """What is said of a program that is none of ours."""
    monkeypatch.setattr(ladder, "STEP_S", 0.5)

    with program(serve) as address:
        found = in_the_way(examined(path, address))
    assert found.subject == "port"
    assert "propagul doctor" in found.remedy
    return found


def test_a_program_that_speaks_first_is_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def banner(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        connection.recv(1000)

    assert "another program answers" in against(tmp_path, banner, monkeypatch).says


def test_a_program_that_waits_is_said_to_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def web_server(connection: socket.socket) -> None:
        connection.recv(1000)

    assert "takes the connection and says nothing" in against(tmp_path, web_server, monkeypatch).says


def test_a_forwarder_to_nowhere_is_said_to_hang_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forwarder(connection: socket.socket) -> None:
        connection.close()

    assert "hangs up" in against(tmp_path, forwarder, monkeypatch).says


def test_a_socket_that_nobody_serves_is_said_to_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "STEP_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        found = in_the_way(examined(tmp_path, Address(*deaf.getsockname())))
    assert found.subject == "port"
    assert "says nothing" in found.says


@pytest.mark.parametrize("room", ["fleet", "another-room"])
def test_another_secret_or_room_is_said_with_the_way_in(tmp_path: Path, room: str) -> None:
    async def scenario() -> Examination:
        async with open_to(foreigner(room)) as listener:
            return await examine_peer(running(await member(tmp_path)), listener.address)

    examination = asyncio.run(scenario())
    found = in_the_way(examination)
    assert verdicts(examination)["port"] == "ok"
    assert found.subject == "secret"
    assert "another fleet" in found.says
    assert "propagul fleet invite" in found.remedy


def test_who_was_given_a_secret_is_told_to_compare_it(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        box = look(settings_of(tmp_path, PROPAGUL_GOSSIP_SECRET="a secret of thirty-two characters"))
        async with open_to(foreigner()) as listener:
            return await examine_peer(running(box), listener.address)

    found = in_the_way(asyncio.run(scenario()))
    assert found.subject == "secret"
    assert "PROPAGUL_GOSSIP_SECRET" in found.remedy


def test_a_box_in_no_fleet_is_told_to_join_and_stays_as_it_was(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        async with open_to(foreigner()) as listener:
            return await examine_peer(look(settings_of(tmp_path / "new")), listener.address)

    found = in_the_way(asyncio.run(scenario()))
    assert (found.subject, found.says) == ("secret", "this box is in no fleet yet")
    assert not (tmp_path / "new").exists()


def test_another_version_is_said_as_that(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        box = running(await member(tmp_path))
        async with open_to(fellow(box, versions=(2, 2))) as listener:
            return await examine_peer(box, listener.address)

    examination = asyncio.run(scenario())
    assert in_the_way(examination).subject == "version"
    assert verdicts(examination)["secret"] == "ok"


def test_a_copy_of_our_identity_is_said_as_that(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        box = running(await member(tmp_path))
        assert box.credentials is not None
        async with open_to(TcpTransport(box.credentials)) as listener:
            return await examine_peer(box, listener.address)

    found = in_the_way(asyncio.run(scenario()))
    assert found.subject == "identity"
    assert "copy of this box's identity" in found.says


def test_our_own_address_is_no_copy(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        box = await member(tmp_path)
        assert box.credentials is not None
        async with open_to(TcpTransport(box.credentials)) as listener:
            return await examine_peer(running(box, str(listener.address)), listener.address)

    found = in_the_way(asyncio.run(scenario()))
    assert found.subject == "address"
    assert "this box itself" in found.says


def test_a_real_store_of_the_same_fleet_is_healthy_and_counts_nobody_turned_away(tmp_path: Path) -> None:
    async def scenario() -> tuple[Examination, int]:
        box = running(await member(tmp_path))
        async with AgentStateStore(
            "fleet", port=0, host="127.0.0.1", credentials=standing_beside(box), advertise=[("127.0.0.1", 0)]
        ) as store:
            examination = await examine_peer(box, store.addresses[0])
            return examination, store.stats.refused

    examination, refused = asyncio.run(scenario())
    assert examination.is_healthy
    assert verdicts(examination) == dict.fromkeys(("port", "secret", "version", "identity"), "ok")
    assert refused == 0


def test_a_peer_that_refuses_the_purpose_has_proven_the_rest(tmp_path: Path) -> None:
    async def nothing(_: object) -> None:
        pass

    async def scenario() -> Examination:
        box = running(await member(tmp_path))
        async with listening(fellow(box), {Purpose.GOSSIP: nothing}) as listener:
            return await examine_peer(box, listener.address)

    examination = asyncio.run(scenario())
    assert examination.is_healthy
    assert verdicts(examination) == {"port": "ok", "secret": "ok", "version": "ok", "identity": "note"}


def knows(address: str, node: str, *, ahead_s: float | None = None, reach: str = "none") -> Member:
    presence = None
    if ahead_s is not None:
        presence = NodePresence(name="cellar", version="1", at_s=time.time() + ahead_s, started_s=1)
    return Member(id=node, name="cellar", reach=reach, heard_s=0.0, addresses=(address,), presence=presence)


def test_whoever_took_the_address_of_another_is_named(tmp_path: Path) -> None:
    async def scenario() -> tuple[Examination, Examination]:
        box, peer = await member(tmp_path), None
        peer = fellow(box)
        async with open_to(peer) as listener:
            expected = running(box, members=(knows(str(listener.address), peer.node),))
            mistaken = running(box, members=(knows(str(listener.address), "b" * 52),))
            return await examine_peer(expected, listener.address), await examine_peer(mistaken, listener.address)

    right, wrong = asyncio.run(scenario())
    assert right.is_healthy
    assert right.findings[-1].says == 'it is "cellar", as expected'
    found = in_the_way(wrong)
    assert found.subject == "identity"
    assert '"cellar" was last known at' in found.says


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "says"),
    [
        (0.0, "ok", "its clock and ours agree"),
        (-90.0, "note", "its clock is 90 seconds behind ours"),
        (3700.0, "blocked", "its clock is 62 minutes ahead of ours"),
    ],
)
def test_a_clock_that_differs_is_said_by_how_much(tmp_path: Path, ahead_s: float, verdict: str, says: str) -> None:
    async def scenario() -> Examination:
        box = await member(tmp_path)
        peer = fellow(box)
        async with open_to(peer) as listener:
            known = knows(str(listener.address), peer.node, ahead_s=ahead_s, reach="linked")
            return await examine_peer(running(box, members=(known,)), listener.address)

    found = next(finding for finding in asyncio.run(scenario()).findings if finding.subject == "clock")
    assert (found.verdict, found.says) == (verdict, says)


def test_a_clock_that_nobody_hears_of_is_left_out(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        box = await member(tmp_path)
        peer = fellow(box)
        async with open_to(peer) as listener:
            known = knows(str(listener.address), peer.node, ahead_s=9000, reach="relayed")
            return await examine_peer(running(box, members=(known,)), listener.address)

    assert "clock" not in verdicts(asyncio.run(scenario()))


def test_without_a_node_here_the_peer_is_reached_and_sees_nobody(tmp_path: Path) -> None:
    async def scenario() -> Examination:
        box = await member(tmp_path)
        async with open_to(fellow(box)) as listener:
            return await examine_peer(box, listener.address)

    found = in_the_way(asyncio.run(scenario()))
    assert (found.subject, found.remedy) == ("node", "propagul fleet up")


def test_of_a_members_addresses_one_that_works_is_enough(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def scenario() -> tuple[Examination, Examination, Examination]:
        box = await member(tmp_path)
        peer = fellow(box)
        closed = f"127.0.0.1:{free_port()}"
        async with open_to(peer) as listener, open_to(foreigner()) as foreign:
            told = knows(closed, peer.node).model_copy(update={"addresses": (closed, str(listener.address))})
            worse = told.model_copy(update={"addresses": (closed, str(foreign.address), closed)})
            silent = told.model_copy(update={"addresses": ()})
            box = running(box, members=(told,))
            return tuple([await examine_member(box, known) for known in (told, worse, silent)])  # type: ignore[return-value]

    works, furthest, silent = asyncio.run(scenario())
    assert works.is_healthy
    assert in_the_way(furthest).subject == "secret"
    assert verdicts(silent) == {"address": "note"}


def test_nothing_that_is_secret_is_said(tmp_path: Path) -> None:
    async def scenario() -> list[Examination]:
        box = running(await member(tmp_path))
        async with open_to(foreigner()) as foreign, open_to(fellow(box)) as listener:
            return [await examine_peer(box, address) for address in (foreign.address, listener.address)]

    said = repr(asyncio.run(scenario()))
    secret = (tmp_path / "room-secret").read_text().strip()
    key = (tmp_path / "identity.key").read_text().splitlines()[1]
    assert secret not in said
    assert key not in said
