"""Two machines with one identity: named by each of them, and by a third; a restart is none."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from propagul.errors import IdentityError, LinkError
from propagul.link import Credentials, Identity, NodeId, Purpose, RoomAuthority, TcpTransport
from propagul.link.messages import TWIN
from propagul.link.twins import NODES_MAX, RETURNS, InstanceBook, are_two_runs, runs_twice
from tests.link.world import ROOM, SECRET, linked, listening, member, reasons, run, standing

if TYPE_CHECKING:
    from collections.abc import Sequence

NODE = NodeId("a" * 52)


def twins() -> tuple[TcpTransport, TcpTransport]:
    """Two runs of one identity."""
    authority, identity = RoomAuthority.from_secret(ROOM, SECRET), Identity.generate()
    first, second = (TcpTransport(Credentials.from_authority(identity, authority)) for _ in range(2))
    return first, second


def test_a_dial_that_reaches_a_twin_is_named_on_both_sides() -> None:
    async def scenario() -> None:
        ours, theirs = twins()
        async with listening(theirs) as listener:
            with pytest.raises(
                IdentityError, match=r"a second machine .* fresh data directory, or delete identity\.key"
            ):
                await ours.dial(listener.address, Purpose.GOSSIP)
            assert TWIN in reasons(theirs)[0], "there it is known no later than here"
            assert TWIN in reasons(ours)[0]

    run(scenario)


def test_a_dial_that_reaches_this_node_itself_is_no_twin() -> None:
    async def scenario() -> None:
        ours = member()
        async with listening(ours) as listener:
            with pytest.raises(LinkError, match=r"is this node itself$"):
                await ours.dial(listener.address, Purpose.GOSSIP)
        assert reasons(ours) == []

    run(scenario)


@pytest.mark.parametrize("third_dials", [True, False])
def test_a_third_node_that_is_linked_with_both_says_who_runs_twice(*, third_dials: bool) -> None:
    async def scenario() -> None:
        third, (one, other) = member(), twins()

        async def link(twin: TcpTransport) -> None:
            ends = await (linked(third, twin) if third_dials else linked(twin, third))
            await ends[0].aclose()

        for _ in range(RETURNS):
            assert reasons(third) == []
            await link(one)
            await link(other)
        assert reasons(third) == [runs_twice(one.node)]

    run(scenario)


def test_both_ends_of_a_link_know_which_run_of_the_other_it_is() -> None:
    async def scenario() -> None:
        ours, theirs, silent = (TcpTransport(standing(), instance=run) for run in (b"this run", b"that run", b""))
        dialled, accepted = await linked(ours, theirs)
        assert (dialled.instance, accepted.instance) == (b"that run", b"this run")
        await dialled.aclose()
        dialled, accepted = await linked(ours, silent)
        assert (dialled.instance, accepted.instance) == (b"", b"this run")
        await dialled.aclose()

    run(scenario)


def test_tunnels_of_several_processes_of_one_directory_make_no_twin() -> None:
    async def scenario() -> None:
        third, processes = member(), twins()
        for _ in range(2 * RETURNS):
            for process in processes:
                ends = await linked(process, third, Purpose.TUNNEL)
                await ends[0].aclose()
        assert reasons(third) == []

    run(scenario)


def noted(instances: Sequence[bytes]) -> list[bool]:
    book = InstanceBook()
    return [book.note(NODE, instance) for instance in instances]


def test_two_links_are_of_two_runs_only_where_both_ends_tell_theirs() -> None:
    assert are_two_runs(b"one", b"two")
    assert not any(are_two_runs(*pair) for pair in ((b"one", b"one"), (b"one", b""), (b"", b"one"), (b"", b"")))


def test_no_number_of_restarts_makes_a_twin() -> None:
    restarts = [number.to_bytes(8) for number in range(100)]
    assert not any(noted(restarts))
    assert not any(noted([again for instance in restarts for again in (instance, instance)]))


def test_a_greeting_of_the_run_before_that_arrives_late_makes_no_twin() -> None:
    runs = [number.to_bytes(8) for number in range(100)]
    late = [instance for before, after in itertools.pairwise(runs) for instance in (after, before, after)]
    assert not any(noted([runs[0], *late]))


def test_two_instances_in_turn_are_twins_for_as_long_as_they_go_on() -> None:
    assert noted([b"one", b"two"] * 4) == [False] * (RETURNS + 1) + [True] * (7 - RETURNS)


def test_who_tells_no_instance_is_never_a_twin() -> None:
    assert not any(noted([b"", b"one", b"", b"one", b"", b"one", b""]))


def test_the_book_of_instances_is_bounded() -> None:
    book = InstanceBook()
    for number in range(2 * NODES_MAX):
        book.note(NodeId(f"{number:052}"), b"one")
    assert len(book._nodes) == NODES_MAX
