"""Which members a node links with: by a list, or by who answered first."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from propagul.errors import IdentityError
from propagul.link import Address, AllowList, AnyMember, FirstUse, Identity, Pins, Purpose, TcpTransport
from propagul.link.pins import PINNED_MAX, open_pins
from tests.link.world import linked, listening, member, reasons, run, standing, until

if TYPE_CHECKING:
    from pathlib import Path

    from propagul.link import NodeId


def pinning(pins: Pins) -> TcpTransport:
    return TcpTransport(standing(), pins=pins)


def somebody() -> NodeId:
    return Identity.generate().node


def test_a_member_that_is_not_on_the_list_is_refused_counted_and_told_whoever_dials() -> None:
    async def scenario() -> None:
        friend, other = member(), member()
        ours = pinning(AllowList([friend.node]))
        async with listening(ours) as listener, listening(other) as elsewhere:
            with pytest.raises(IdentityError, match="takes links from the nodes that it pins only"):
                await other.dial(listener.address, Purpose.GOSSIP)
            await until(lambda: reasons(ours) == ["a member that is not on this node's list of pins"])
            with pytest.raises(IdentityError, match="which is not on this node's list of pins"):
                await ours.dial(elsewhere.address, Purpose.GOSSIP)
        for ends in ((friend, ours), (ours, friend)):
            link, _ = await linked(*ends)
            await link.aclose()

    run(scenario)


def test_a_list_holds_node_ids_and_nothing_else() -> None:
    with pytest.raises(IdentityError, match="52 characters"):
        open_pins(["box-1"], None)
    with pytest.raises(IdentityError, match="first-use"):
        open_pins("first use", None)
    assert isinstance(open_pins(None, None), AnyMember)


async def move_in(ours: TcpTransport, address: Address | None = None, theirs: TcpTransport | None = None) -> Address:
    """Dial a member at an address, by default a new one; return where it was."""
    async with listening(theirs or member(), address=address or Address("127.0.0.1", 0)) as listener:
        link = await ours.dial(listener.address, Purpose.GOSSIP)
        await link.aclose()
        return listener.address


def test_an_address_leads_to_who_answered_there_first_until_that_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"

    async def scenario() -> None:
        first, second = member(), member()
        address = await move_in(pinning(FirstUse(path)), theirs=first)
        pins = FirstUse(path)  # after a restart
        ours = pinning(pins)
        await move_in(ours, address, first)
        with pytest.raises(IdentityError) as refused:
            await move_in(ours, address, second)
        assert f"led to node {first.node} and leads to node {second.node} now" in str(refused.value)
        assert f"store.pins.forget('127.0.0.1', {address.port})" in str(refused.value)
        assert FirstUse(path).forget(*address)  # as another process would
        await move_in(ours, address, second)
        with pytest.raises(IdentityError):
            await move_in(ours, address, first)
        assert pins.forget(*address)
        assert not pins.forget(*address)

    run(scenario)


def test_the_other_node_hears_nothing_but_that_somebody_dialled(tmp_path: Path) -> None:
    async def scenario() -> None:
        address = await move_in(pins := pinning(FirstUse(tmp_path / "pins.json")))
        wrong = member()
        with pytest.raises(IdentityError):
            await move_in(pins, address, wrong)
        assert reasons(wrong) in ([], ["hung up during the handshake"])

    run(scenario)


def test_who_was_named_by_its_identity_may_answer_anywhere(tmp_path: Path) -> None:
    """What a member says of its addresses is proven by its identity: another address of it is no replacement."""

    async def scenario() -> None:
        ours, first, second = pinning(FirstUse(tmp_path / "pins.json")), member(), member()
        address = await move_in(ours, theirs=first)
        async with listening(second, address=address):
            link = await ours.dial(address, Purpose.GOSSIP, expect=second.node)
            await link.aclose()
            with pytest.raises(IdentityError, match="led to node"):
                await ours.dial(address, Purpose.GOSSIP, expect=first.node)
            with pytest.raises(IdentityError, match="led to node"):
                await ours.dial(address, Purpose.GOSSIP)

    run(scenario)


def test_an_invite_pins_who_made_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        issuer, pins = member(), FirstUse(tmp_path / "pins.json")
        address = await move_in(member())
        await pins.remember(address, issuer.node)
        with pytest.raises(IdentityError, match=f"led to node {issuer.node}"):
            await pins.remember(address, somebody())
        with pytest.raises(IdentityError, match=f"led to node {issuer.node}"):
            await move_in(pinning(pins), address, member())
        await move_in(pinning(pins), address, issuer)

    run(scenario)


def test_without_a_directory_pins_hold_as_long_as_the_process() -> None:
    async def scenario() -> None:
        ours = pinning(FirstUse(None))
        address = await move_in(ours)
        with pytest.raises(IdentityError, match="led to node"):
            await move_in(ours, address)

    run(scenario)


def test_pins_are_private_bounded_and_read_by_people(tmp_path: Path) -> None:
    path, node = tmp_path / "pins.json", somebody()

    async def scenario() -> None:
        pins = FirstUse(path)
        await pins.remember(Address("Box.Example", 9000), node)
        assert json.loads(path.read_text()) == {"format": 1, "pins": {"box.example:9000": node}}
        assert path.stat().st_mode & 0o077 == 0
        assert await pins.pinned(Address("box.example", 9000)) == node
        assert await pins.pinned(Address("box.example", 9001)) is None
        path.write_text(json.dumps({"pins": {f"h{number}:1": node for number in range(PINNED_MAX)}}))
        with pytest.raises(IdentityError, match=f"{PINNED_MAX} addresses are pinned"):
            await pins.remember(Address("one-more", 1), node)

    run(scenario)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pins": {"a:1": "nobody"}}', '{"pins": {"a:1": 7}}', '{"pins": 1}'])
def test_a_damaged_file_of_pins_links_with_nobody_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pins.json"

    async def scenario() -> None:
        ours = pinning(FirstUse(path))
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(IdentityError, match="is damaged"):
            await move_in(ours)
        with pytest.raises(IdentityError, match="is damaged"):
            FirstUse(path)

    run(scenario)


def test_pins_that_others_can_read_or_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "pins.json"

    async def scenario() -> None:
        with pytest.raises(IdentityError, match="cannot be written"):
            await move_in(pinning(FirstUse(path)))
        path.parent.mkdir()
        path.write_text('{"pins": {}}')
        path.chmod(0o644)
        with pytest.raises(IdentityError, match="chmod 600"):
            FirstUse(path)

    run(scenario)


def test_many_dials_at_once_pin_one_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        ours, theirs = pinning(FirstUse(tmp_path / "pins.json")), member()
        async with listening(theirs) as listener:
            links = await asyncio.gather(*(ours.dial(listener.address, Purpose.GOSSIP) for _ in range(8)))
            for link in links:
                await link.aclose()
        assert len(json.loads((tmp_path / "pins.json").read_text())["pins"]) == 1

    run(scenario)
