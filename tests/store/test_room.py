"""Who is in the room: presence, members, invites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, IdentityError, Limits
from propagul.link import Credentials, Identity, Invite, join
from propagul.store import _values
from tests.store.world import FAST, ROOM, Island, address, loopback, on_island, pair, run, until

if TYPE_CHECKING:
    from pathlib import Path

TTL_S = 10.0


def test_presence_appears_elsewhere_and_follows_its_owner() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        a.presence.set("gpu", {"free": 8})
        await island.clock.advance(0.1)
        first = b.presence.get("gpu")
        assert first is not None
        assert first.value == {"free": 8}
        a.presence.set("gpu", {"free": 7})
        await island.clock.advance(0.1)
        second = b.presence.get("gpu")
        assert second is not None
        assert (second.value, second.origin) == ({"free": 7}, first.origin)
        a.presence.delete("gpu")
        await island.clock.advance(0.1)
        assert b.presence.get("gpu") is None
        assert a.presence.get("gpu") is None

    on_island(scenario)


def test_presence_is_refreshed_as_long_as_its_owner_lives() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        a.presence.set("gpu", 1)
        for _ in range(20):
            await island.clock.advance(3)
            heard = b.presence.get("gpu")
            assert heard is not None
            assert heard.age_s < 2.5
        own = a.presence.get("gpu")
        assert own is not None
        assert own.age_s == 0

    on_island(scenario)


def test_presence_of_a_killed_store_expires_by_the_receivers_clock_and_stays_gone() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        c = await island.start("c", "b")
        a.presence.set("gpu", 1)
        await island.clock.advance(2)  # c may hear of it through b
        assert set(b.presence.get_all("gpu")) == set(c.presence.get_all("gpu")) == {"gpu"}
        island.network.crash("a")
        for other in "bc":
            island.network.cut("a", other)
        await island.clock.advance(TTL_S - 3)
        assert b.presence.get("gpu") is not None
        await island.clock.advance(6)
        for store in (b, c):
            assert store.presence.get("gpu") is None
            assert {member.label for member in store.members()} == {"b", "c"} - {store.label}
        d = await island.start("d", "b")
        await island.clock.advance(1)
        assert d.presence.get("gpu") is None

    on_island(scenario)


def test_time_in_which_a_process_did_not_run_makes_nobody_absent() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        a.presence.set("gpu", 1)
        await island.clock.advance(3)
        island.clock._now_s += 10 * TTL_S  # time passes, and nothing runs
        assert b.presence.get("gpu") is not None
        assert {member.label for member in b.members()} == {"a"}
        island.network.crash("a")
        island.network.cut("a", "b")
        await island.clock.advance(TTL_S)
        assert b.presence.get("gpu") is None

    on_island(scenario)


def test_presence_is_withdrawn_at_a_clean_stop() -> None:
    async def scenario(island: Island) -> None:
        a = await island.start("a")
        b = await island.start("b", "a")
        b.presence.set("gpu", 1)
        await island.clock.advance(0.1)
        assert a.presence.get("gpu") is not None
        before = island.clock.monotonic()
        await b.stop()
        assert island.clock.monotonic() == before, "saying goodbye takes a round trip and no waiting"
        assert a.presence.get("gpu") is None
        assert a.members() == []

    on_island(scenario)


def test_presence_is_in_no_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pair(path=tmp_path) as (a, b):
            a.presence.set("gpu", "a word like no other")
            b.presence.set("other", "another word like no other")
            await until(lambda: a.presence.get("other") and b.presence.get("gpu"))
            a.set("k", "in the log")
        (segment,) = (tmp_path / "log").glob("*/*.log")
        written = segment.read_bytes()
        assert b"in the log" in written
        assert b"word like no other" not in written

    run(scenario)


def test_members_are_named_with_their_addresses() -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            await until(lambda: a.members() and b.members())
            (member,) = b.members()
            assert (member.node, member.label, member.linked) == (a.node, "a", True)
            assert member.addresses == (str(a.addresses[0]),)
            assert 0 <= member.heard_s < 5

    run(scenario)


def test_an_invited_machine_becomes_a_member_without_learning_the_secret() -> None:
    async def scenario() -> None:
        async with loopback("issuer") as issuer:
            issuer.set("k", 1)
            invite = Invite.decode(issuer.invite())
            identity = Identity.generate()
            grant = await join(invite, identity)
            credentials = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem)
            joiner = AgentStateStore(ROOM, "joiner", 0, "127.0.0.1", credentials=credentials, config=FAST)
            report = await joiner.start(peers=[grant.address])
            assert report.complete
            assert joiner.get("k") == 1
            joiner.set("mine", 2)
            await until(lambda: issuer.get("mine") == 2)
            with pytest.raises(IdentityError, match="only a store that holds the room's secret can invite"):
                joiner.invite()
            with pytest.raises(IdentityError, match="has been used"):
                await join(invite, Identity.generate())
            await joiner.stop()

    run(scenario)


def test_an_invite_outlives_a_restart_of_its_issuer(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = loopback("issuer", path=tmp_path)
        await first.start()
        port = address(first)[1]
        token = first.invite()
        await first.stop()
        async with loopback("issuer", path=tmp_path, port=port):
            grant = await join(Invite.decode(token), Identity.generate())
            assert grant.room == ROOM

    run(scenario)


def test_a_store_that_does_not_listen_cannot_invite() -> None:
    async def scenario() -> None:
        async with loopback(port=None) as store:
            with pytest.raises(IdentityError, match="does not listen"):
                store.invite()

    run(scenario)


def test_an_invited_member_cannot_invite_by_writing_the_issuers_invites() -> None:
    """The issuer believes its own log alone: no row of a member, in any namespace, opens its door."""

    async def scenario() -> None:
        async with loopback("issuer") as issuer:
            identity = Identity.generate()
            grant = await join(Invite.decode(issuer.invite()), identity)
            credentials = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem)
            member = AgentStateStore(ROOM, "member", 0, "127.0.0.1", credentials=credentials, config=FAST)
            await member.start(peers=[grant.address])
            forged = Invite.new(addresses=issuer.addresses, room=ROOM, issuer=issuer.node)
            row = {
                "issuer": issuer.node,
                "certificate": forged.certificate_pem,
                "expires_s": 2**40,
                "uses": 9,
                "used_by": [],
            }
            for name, space in member._spaces.items():
                space.put(f"invites/{forged.invite_id}", _values.freeze("k", row, Limits()))
                if name != "own":
                    member._push(name)
            member.set("after", 1)
            await until(lambda: issuer.get("after") == 1)
            await until(lambda: issuer.get(f"invites/{forged.invite_id}") is not None)
            with pytest.raises(IdentityError, match="does not take this invite"):
                await join(forged, Identity.generate())
            await member.stop()

    run(scenario)
