"""Trust that changes while links are open: who is cut off, who is let in, and who is told what."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from propagul.errors import ClosedError, IdentityError, LinkError
from propagul.link import Credentials, Identity, Purpose, RoomAuthority, TcpTransport
from propagul.link.deeds import pack_ended
from propagul.link.handshake import ask, open_stream
from propagul.link.lineage import Lineage
from tests.link.world import OTHER_SECRET, ROOM, SECRET, listening, member, run, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.link import Link

FIRST, SECOND = RoomAuthority.from_secret(ROOM, SECRET), RoomAuthority.from_secret(ROOM, OTHER_SECRET)
TWO = Lineage.of(FIRST.tag).followed_by(FIRST, SECOND)


def old() -> Credentials:
    """One who knows the first secret only."""
    return Credentials.from_authority(Identity.generate(), FIRST)


def both() -> Credentials:
    """One who has certificates of both."""
    credentials = old()
    credentials.adopt(SECOND.certify(credentials.node), SECOND.ca_pem)
    return credentials


def new() -> Credentials:
    """One for whom the first has ended, with the deed that ended it."""
    credentials = both()
    proof = pack_ended(TWO, SECOND, FIRST.ca_pem)
    credentials.settle(credentials.ring.distrust(FIRST.tag, proof))
    return credentials


def fresh() -> Credentials:
    """One with the second secret that knows of no other."""
    return Credentials.from_authority(Identity.generate(), SECOND)


async def talk(link: Link) -> None:
    await link.send(b"in")
    assert await link.receive() == b"in"


async def meet(ours: Credentials, theirs: Credentials) -> None:
    acceptor = TcpTransport(theirs)
    async with listening(acceptor) as listener:
        link = await TcpTransport(ours).dial(listener.address, Purpose.GOSSIP, expect=theirs.node)
        await talk(link)
        await link.aclose()


@pytest.mark.parametrize("ours", [old, both, new, fresh])
@pytest.mark.parametrize("theirs", [old, both, new, fresh])
def test_whoever_shares_a_trusted_authority_meets(
    ours: Callable[[], Credentials], theirs: Callable[[], Credentials]
) -> None:
    async def scenario() -> None:
        if {ours, theirs} in ({old, new}, {old, fresh}):
            with pytest.raises(IdentityError):
                await meet(ours(), theirs())
        else:
            await meet(ours(), theirs())

    run(scenario)


def test_who_was_away_is_told_that_the_secret_was_changed() -> None:
    async def scenario() -> None:
        theirs = TcpTransport(new())
        async with listening(theirs) as listener:
            with pytest.raises(IdentityError, match="the secret of this room was changed while this machine was away"):
                await TcpTransport(old()).dial(listener.address, Purpose.GOSSIP)
            await until(lambda: "the secret that the room had before" in str(theirs.refusals()))

    run(scenario)


def test_that_the_secret_was_changed_is_believed_with_proof_only() -> None:
    async def scenario() -> None:
        credentials = new()
        credentials.settle(credentials.ring.distrust(FIRST.tag, pack_ended(TWO, FIRST, FIRST.ca_pem)))
        async with listening(TcpTransport(credentials)) as listener:
            with pytest.raises(IdentityError, match="without proof"):
                await TcpTransport(old()).dial(listener.address, Purpose.GOSSIP)

    run(scenario)


def test_a_stranger_is_told_no_more_than_before() -> None:
    async def scenario() -> None:
        theirs = TcpTransport(new())
        async with listening(theirs) as listener:
            with pytest.raises(IdentityError, match="another room or another secret"):
                await member("yet-another-battery-staple-5").dial(listener.address, Purpose.GOSSIP)
            await until(lambda: [r.reason for r in theirs.refusals()] == ["another room or another secret"])
            assert theirs.refusals()[0].count == 1, "it does not ask again who was refused"

    run(scenario)


def test_a_revoked_members_links_are_cut_at_both_ends_and_it_is_told_why() -> None:
    async def scenario() -> None:
        mine, yours = old(), old()
        ours, theirs = TcpTransport(mine), TcpTransport(yours)
        async with listening(theirs) as listener, listening(ours) as ours_too:
            link = await ours.dial(listener.address, Purpose.GOSSIP)
            back = await theirs.dial(ours_too.address, Purpose.GOSSIP)
            await talk(link)
            await talk(back)
            yours.revoke(mine.node)
            for broken in (link, back):
                with pytest.raises(ClosedError):
                    await broken.receive()
            with pytest.raises(IdentityError, match="this machine is a revoked member"):
                await ours.dial(listener.address, Purpose.GOSSIP)
            await until(lambda: [r.reason for r in theirs.refusals()] == ["a revoked member"])
            with pytest.raises(IdentityError, match="is a revoked member: it is not linked with"):
                await theirs.dial(ours_too.address, Purpose.GOSSIP)

    run(scenario)


def test_a_revocation_in_the_middle_of_a_handshake_counts() -> None:
    async def scenario() -> None:
        mine, yours = old(), old()
        theirs = TcpTransport(yours)
        async with listening(theirs) as listener:
            stream = await open_stream(listener.address, mine.dialer_context(), 20)
            await until(lambda: mine.node in yours.linked())
            yours.revoke(mine.node)
            with pytest.raises(LinkError, match="hung up"):
                await ask(stream, listener.address, Purpose.GOSSIP, 20)

    run(scenario)


def test_an_ended_authority_cuts_off_who_has_no_other_and_nobody_else() -> None:
    async def scenario() -> None:
        host, follower, straggler = both(), both(), old()
        theirs = TcpTransport(host)
        async with listening(theirs) as listener:
            kept = await TcpTransport(follower).dial(listener.address, Purpose.GOSSIP)
            lost = await TcpTransport(straggler).dial(listener.address, Purpose.GOSSIP)
            certified = frozenset({(follower.node, SECOND.tag)})
            host.settle(replace(host.ring.distrust(FIRST.tag), certified=certified))
            with pytest.raises(ClosedError):
                await lost.receive()
            await talk(kept)
            await kept.aclose()

    run(scenario)


def test_a_change_from_another_thread_reaches_the_links() -> None:
    async def scenario() -> None:
        mine, yours = old(), old()
        async with listening(TcpTransport(yours)) as listener:
            link = await TcpTransport(mine).dial(listener.address, Purpose.GOSSIP)
            await talk(link)
            await asyncio.to_thread(yours.revoke, mine.node)
            with pytest.raises(ClosedError):
                await link.receive()

    run(scenario)


def test_who_trusts_nobody_meets_nobody() -> None:
    async def scenario() -> None:
        lonely = old()
        lonely.distrust(FIRST.tag)
        with pytest.raises(IdentityError):
            await meet(lonely, old())
        with pytest.raises(IdentityError):
            await meet(old(), lonely)

    run(scenario)
