"""Changing the secret of a room and shutting members out, with real links."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, IdentityError
from propagul.link import Address, Credentials, Identity, Invite, Purpose, RoomAuthority, TcpTransport, join
from tests.store.world import FAST, ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from propagul.link import Link
    from propagul.link.ring import KeyRing

NEW_SECRET = "a-brand-new-battery-staple-77"


@asynccontextmanager
async def linked(*stores: AgentStateStore) -> AsyncIterator[None]:
    """Run stores, each linked with every other one."""
    async with AsyncExitStack() as stack:
        for number, store in enumerate(stores):
            await store.start(peers=[address(other) for other in stores[:number]])
            stack.push_async_callback(store.stop)
        nodes = {store.node for store in stores}
        await until(lambda: all(nodes <= {store.node, *store.linked()} for store in stores))
        yield


def links_of(store: AgentStateStore) -> set[Link]:
    """The open link objects themselves."""
    assert store._network is not None
    return {entry.link for entry in store._network.mesh._open.values()}


def ring_of(store: AgentStateStore) -> KeyRing:
    assert store._credentials is not None
    return store._credentials.ring


def trusts_only(store: AgentStateStore, secret: str) -> bool:
    return set(ring_of(store).trusted) == {RoomAuthority.from_secret(ROOM, secret).tag}


def trusts_both(store: AgentStateStore) -> bool:
    return len(ring_of(store).trusted) == 2


async def refused_plainly(secret: str, at: tuple[str, int], words: str) -> None:
    transport = TcpTransport(Credentials.from_authority(Identity.generate(), RoomAuthority.from_secret(ROOM, secret)))
    with pytest.raises(IdentityError, match=words):
        await transport.dial(Address(*at), Purpose.GOSSIP)


def member(secret: str, path: Path | None = None) -> AgentStateStore:
    return loopback(path.name if path else "x", secret=secret, path=path)


def test_the_secret_is_changed_and_no_link_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b, c = (member(SECRET, tmp_path / name) for name in "abc")
        async with linked(a, b, c):
            await until(lambda: all(len(ring_of(store).certified) == 3 for store in (a, b, c)))
            before = [links_of(store) for store in (a, b, c)]
            a.rotate_secret(NEW_SECRET)
            b.set("during", 1)
            await until(lambda: a.get("during") == c.get("during") == 1)
            await until(lambda: all(trusts_only(store, NEW_SECRET) for store in (a, b, c)))
            c.set("after", 2)
            await until(lambda: a.get("after") == b.get("after") == 2)
            assert [links_of(store) for store in (a, b, c)] == before
            assert a.rotation is None
            await refused_plainly(SECRET, address(b), "was changed")

    run(scenario)


def test_a_member_that_was_away_when_it_began_is_let_in_and_follows(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b, c = (member(SECRET, tmp_path / name) for name in "abc")
        async with linked(a, b, c):
            await until(lambda: all(len(ring_of(store).certified) == 3 for store in (a, b)))
            await c.stop()
            a.rotate_secret(NEW_SECRET)
            await until(lambda: a.rotation is not None and b.node in a.rotation.followed)
            assert a.rotation is not None
            assert a.rotation.missing == (c.node,)
            assert trusts_both(a)
            assert trusts_both(b)
            back = member(SECRET, tmp_path / "c")
            await back.start(peers=[address(b)])
            await until(lambda: all(trusts_only(store, NEW_SECRET) for store in (a, b, back)))
            await back.stop()
        with pytest.raises(IdentityError, match="the secret of this room was changed: open the store with the new one"):
            member(SECRET, tmp_path / "c")
        member(NEW_SECRET, tmp_path / "c").close()

    run(scenario)


def test_a_member_that_was_away_all_the_time_is_told_what_to_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b, c = (member(SECRET, tmp_path / name) for name in "abc")
        async with linked(a, b, c):
            await until(lambda: all(len(ring_of(store).certified) == 3 for store in (a, b)))
            await c.stop()
            a.rotate_secret(NEW_SECRET)
            a.finish_rotation()
            await until(lambda: trusts_only(b, NEW_SECRET))
            async with member(SECRET, tmp_path / "c") as back:
                back.add_peer(*address(a))
                await until(back.troubles)
                assert "the secret of this room was changed while this machine was away" in back.troubles()[0]
                assert "give it the new secret, or a new invite" in back.troubles()[0]
                await until(lambda: "the secret that the room had before" in a.refusals()[-1].reason)
            back = member(NEW_SECRET, tmp_path / "c")
            await back.start(peers=[address(a)])
            await until(lambda: {a.node, b.node} == back.linked())
            await back.stop()

    run(scenario)


def test_the_former_secret_ends_at_once_if_told_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b = (member(SECRET, tmp_path / name) for name in "ab")
        async with linked(a, b):
            before = links_of(a), links_of(b)
            await until(lambda: b.node in {node for node, _ in ring_of(a).certified})
            a.rotate_secret(NEW_SECRET, overlap_s=0)
            assert trusts_only(a, NEW_SECRET)
            await until(lambda: trusts_only(b, NEW_SECRET))
            b.set("k", 1)
            await until(lambda: a.get("k") == 1)
            assert (links_of(a), links_of(b)) == before

    run(scenario)


def test_a_holder_that_restarts_goes_on_with_the_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b, c = (member(SECRET, tmp_path / name) for name in "abc")
        async with linked(a, b, c):
            await until(lambda: all(len(ring_of(store).certified) == 3 for store in (a, b)))
            await c.stop()
            a.rotate_secret(NEW_SECRET)
            await until(lambda: a.rotation is not None and b.node in a.rotation.followed)
            await a.stop()
            again, back = member(NEW_SECRET, tmp_path / "a"), member(SECRET, tmp_path / "c")
            async with linked(again, back):
                await until(lambda: trusts_only(again, NEW_SECRET) and trusts_only(back, NEW_SECRET))

    run(scenario)


def test_a_newcomer_with_the_new_secret_and_one_with_the_old_meet_while_it_changes(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b = (member(SECRET, tmp_path / name) for name in "ab")
        async with linked(a, b):
            await until(lambda: len(ring_of(a).certified) == 2)
            await b.stop()
            a.rotate_secret(NEW_SECRET)
            new, old = member(NEW_SECRET), member(SECRET)
            await new.start(peers=[address(a)])
            await until(lambda: a.node in new.linked())
            await old.start(peers=[address(new), address(a)])
            await until(lambda: {a.node, new.node} == old.linked())
            old.set("k", 1)
            await until(lambda: new.get("k") == 1)
            await new.stop()
            await old.stop()

    run(scenario)


def test_an_invited_member_follows_and_keeps_out_with_the_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, identity = member(SECRET, tmp_path / "a"), Identity.load_or_create(tmp_path / "b" / "identity.key")
        async with linked(a):
            grant = await join(Invite.decode(a.invite()), identity)
            first = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem, lineage=grant.lineage)
            async with granted(first, tmp_path / "b") as b:
                await b.start(peers=[address(a)])
                a.rotate_secret(NEW_SECRET)
                await until(lambda: trusts_only(b, NEW_SECRET))
            again = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem, lineage=grant.lineage)
            async with granted(again, tmp_path / "b") as b:
                await b.start(peers=[address(a)])
                assert a.node in b.linked(), "what it adopted is in its log"
                with pytest.raises(IdentityError, match="only a store that holds the room's secret"):
                    b.invite()
                with pytest.raises(IdentityError, match="only a store that holds the room's secret can change"):
                    b.rotate_secret("another-fine-battery-staple-1")

    run(scenario)


@asynccontextmanager
async def granted(credentials: Credentials, path: Path) -> AsyncIterator[AgentStateStore]:
    """A store of an invited member, stopped at the end."""
    store = AgentStateStore(ROOM, "b", 0, "127.0.0.1", path=path, credentials=credentials, config=FAST)
    try:
        yield store
    finally:
        await store.stop()


def test_a_joiner_during_the_change_becomes_a_member_under_the_new_secret(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b = (member(SECRET, tmp_path / name) for name in "ab")
        async with linked(a, b):
            await until(lambda: len(ring_of(a).certified) == 2)
            await b.stop()
            a.rotate_secret(NEW_SECRET)
            identity = Identity.generate()
            grant = await join(Invite.decode(a.invite()), identity)
            assert grant.secret is None
            assert grant.lineage.tag == RoomAuthority.from_secret(ROOM, NEW_SECRET).tag
            credentials = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem, lineage=grant.lineage)
            async with granted(credentials, tmp_path / "j") as j:
                await j.start(peers=[address(a)])
                assert a.node in j.linked()
                back = member(SECRET, tmp_path / "b")
                await back.start(peers=[address(a)])
                await until(lambda: j.node in back.linked())
                await back.stop()

    run(scenario)


def test_an_admin_that_joins_holds_the_secret(tmp_path: Path) -> None:
    async def scenario() -> None:
        a = member(SECRET, tmp_path / "a")
        async with linked(a):
            token = a.invite(admin=True)
            grant = await join(Invite.decode(token), Identity.generate())
            assert grant.secret == SECRET
            assert SECRET not in repr(grant)
            b = member(str(grant.secret))
            async with linked(b):
                b.add_peer(*address(a))
                await until(lambda: a.node in b.linked())
                assert b.invite()

    run(scenario)


def test_what_cannot_be_changed_is_said_plainly(tmp_path: Path) -> None:
    store = member(SECRET, tmp_path / "a")
    with pytest.raises(IdentityError, match="at least 12 characters"):
        store.rotate_secret("short")
    with pytest.raises(IdentityError, match="this is the room's secret already"):
        store.rotate_secret(SECRET)
    with pytest.raises(IdentityError, match="no change of the secret is under way"):
        store.finish_rotation()
    with pytest.raises(ValueError, match="0 seconds or more"):
        store.rotate_secret(NEW_SECRET, overlap_s=-1)
    with pytest.raises(IdentityError, match="cannot shut itself out"):
        store.revoke(store.node)
    with pytest.raises(IdentityError, match="52 characters"):
        store.revoke("nobody")
    store.rotate_secret(NEW_SECRET)
    assert store.rotation is None, "there is nobody to wait for"
    with pytest.raises(IdentityError, match="was the room's before"):
        store.rotate_secret(SECRET)
    store.close()
    open_room = loopback("o", secret=None)
    with pytest.raises(IdentityError, match="a room without a secret keeps nobody out"):
        open_room.revoke(store.node)
    open_room.close()
