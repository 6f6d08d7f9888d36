"""Shutting a member out: its links close everywhere, it is let in no more, and both sides are told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, IdentityError
from propagul.link import Address, Credentials, Identity, Invite, Purpose, join
from tests.store.test_rotation import NEW_SECRET, linked, member, ring_of, trusts_only
from tests.store.world import FAST, ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from pathlib import Path

    from propagul.link import ByteLink


async def invited(host: AgentStateStore, path: Path) -> AgentStateStore:
    """A member that does not hold the secret, not started."""
    identity = Identity.load_or_create(path / "identity.key")
    grant = await join(Invite.decode(host.invite()), identity)
    credentials = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem, lineage=grant.lineage)
    return AgentStateStore(ROOM, path.name, 0, "127.0.0.1", path=path, credentials=credentials, config=FAST)


def test_a_revoked_members_links_close_everywhere_and_it_gets_in_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b = (member(SECRET, tmp_path / name) for name in "ab")
        async with linked(a, b):
            x = await invited(a, tmp_path / "x")
            await x.start(peers=[address(a), address(b)])
            await until(lambda: x.linked() == {a.node, b.node})
            a.revoke(x.node)
            await until(lambda: x.node not in a.linked() | b.linked())
            await until(lambda: not x.linked())
            await until(lambda: any("is a revoked member" in trouble for trouble in x.troubles()))
            await until(lambda: "a revoked member" in [refusal.reason for refusal in b.refusals()])
            b.set("secret plan", 1)
            await until(lambda: a.get("secret plan") == 1)
            assert x.get("secret plan") is None
            assert a.linked() == {b.node}
            assert [member.node for member in a.members()] == [b.node], "it is no member, whatever its row says"
            with pytest.raises(IdentityError, match="is a revoked member: it is not linked with"):
                await b._transport.dial(Address(*address(x)), Purpose.GOSSIP)
            with pytest.raises(IdentityError, match="that machine's identity was revoked"):
                await join(Invite.decode(a.invite()), Identity.load_or_create(tmp_path / "x" / "identity.key"))
            await x.stop()

    run(scenario)


def test_who_was_away_hears_of_it_before_it_meets_the_revoked(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b, c = (member(SECRET, tmp_path / name) for name in "abc")
        async with linked(a, b):
            x = await invited(a, tmp_path / "x")
            await c.start(peers=[address(a)])
            at = address(c)
            await c.stop()
            a.revoke(x.node)
            await until(lambda: x.node in ring_of(b).revoked)
            await a.stop()
            again = loopback("c", path=tmp_path / "c", port=at[1])
            await again.start(peers=[address(b)])
            await x.start(peers=[at])
            assert not x.linked()
            assert any("is a revoked member" in trouble for trouble in x.troubles())
            await x.stop()
            await again.stop()
        reopened = member(SECRET, tmp_path / "c")
        assert reopened._credentials is not None
        assert reopened._credentials.ring.revoked == {x.node}, "what was heard outlives the process"
        reopened.close()

    run(scenario)


def test_a_tunnel_that_was_handed_over_is_cut_too(tmp_path: Path) -> None:
    class End(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.Event()

        def connection_lost(self, _: Exception | None) -> None:
            self.lost.set()

    async def scenario() -> None:
        a, ours, theirs = member(SECRET, tmp_path / "a"), End(), End()

        async def serve(link: ByteLink) -> None:
            link.hand_over(ours)
            await ours.lost.wait()

        a.on_tunnel(serve)
        async with linked(a):
            x = await invited(a, tmp_path / "x")
            await x.start(peers=[address(a)])
            (await x.open_tunnel(a.node)).hand_over(theirs)
            a.revoke(x.node)
            async with asyncio.timeout(10):
                await ours.lost.wait()
                await theirs.lost.wait()
            await x.stop()

    run(scenario)


def test_a_revocation_outlives_a_change_of_the_secret_and_the_revoked_is_not_certified_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b = (member(SECRET, tmp_path / name) for name in "ab")
        async with linked(a, b):
            x = await invited(a, tmp_path / "x")
            await x.start(peers=[address(a)])
            await until(lambda: x.node in {node for node, _ in ring_of(b).certified})
            b.revoke(x.node)
            await until(lambda: x.node in ring_of(a).revoked)
            a.rotate_secret(NEW_SECRET)
            await until(lambda: trusts_only(a, NEW_SECRET) and trusts_only(b, NEW_SECRET))
            assert ring_of(a).revoked == ring_of(b).revoked == {x.node}
            assert {tag for node, tag in ring_of(b).certified if node == x.node} == {ring_of(b).lineage.tags[0]}
            await x.stop()

    run(scenario)


def test_who_holds_no_secret_revokes_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        a = member(SECRET, tmp_path / "a")
        async with linked(a):
            x = await invited(a, tmp_path / "x")
            await x.start(peers=[address(a)])
            with pytest.raises(IdentityError, match="only a store that holds the room's secret can shut a member out"):
                x.revoke(a.node)
            await x.stop()

    run(scenario)


def test_neither_secret_is_in_a_row_a_log_record_or_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    strong_old, strong_new = "Zq8vT2mX5kRw9bNc4jLhYs", "Hd3fPu7gEa6yQi1oWz0xKt"

    async def scenario() -> None:
        a, b = member(strong_old, tmp_path / "a"), member(strong_old, tmp_path / "b")
        async with linked(a, b):
            await until(lambda: len(ring_of(a).certified) == 2)
            a.invite(admin=True)
            x = await invited(a, tmp_path / "x")
            await x.start(peers=[address(a)])
            a.revoke(x.node)
            await x.stop()
            a.rotate_secret(strong_new)
            await until(lambda: trusts_only(b, strong_new))
            a.compact()

    run(scenario)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) > 10_000
    for secret in (strong_old, strong_new):
        assert secret.encode() not in written
        assert secret not in caplog.text
