"""Which checkpoint is the latest: causality first, then the id; and what was done at the same time is shown."""

from __future__ import annotations

import random

import pytest

from tests.agents.langgraph.machines import Machines, on_two
from tests.agents.langgraph.values import got, id_of, put, saver, thread, values_at

EARLY, LATE = "1e000000-0000-6000-8000-000000000000", "1f900000-0000-6000-8000-000000000000"


def test_a_clock_that_is_behind_does_not_make_an_older_checkpoint_the_latest() -> None:
    async def scenario(both: Machines) -> None:
        ahead = put(both.a, thread(), {"n": 1}, checkpoint_id=LATE)
        await both.settle()
        behind = put(both.b, ahead, {"n": 2}, 2, checkpoint_id=EARLY)
        await both.settle()
        for one in (both.a, both.b):
            assert got(one, thread()).config == behind
            assert one.heads("1") == [behind]
            assert [found.config for found in one.list(thread())] == [behind, ahead]
            assert [found.config for found in one.list(thread(), before=behind)] == [ahead]
            assert [found.config for found in one.list(thread(), before=ahead)] == []

    on_two(scenario)


def test_a_thread_resumed_in_two_places_has_two_heads_and_one_default_everywhere() -> None:
    async def scenario(both: Machines) -> None:
        root = put(both.a, thread(), {"n": 1})
        await both.settle()
        both.cut()
        here, there = put(both.a, root, {"n": 2}, 2), put(both.b, root, {"n": 3}, 2)
        await both.heal()
        assert sorted(map(id_of, both.a.heads("1"))) == sorted([id_of(here), id_of(there)])
        assert both.a.heads("1") == both.b.heads("1")
        assert got(both.a, thread()).config == got(both.b, thread()).config == both.a.heads("1")[0]
        assert values_at(both.a, there) == {"n": 3}  # nothing of either is lost
        assert values_at(both.b, here) == {"n": 2}

    on_two(scenario)


def test_going_on_from_one_head_leaves_the_other_to_be_seen() -> None:
    async def scenario(both: Machines) -> None:
        root = put(both.a, thread(), {"n": 1})
        await both.settle()
        both.cut()
        put(both.a, root, {"n": 2}, 2)
        put(both.b, root, {"n": 3}, 2)
        await both.heal()
        default, other = both.a.heads("1")
        further = put(both.a, default, {"n": 4}, 3)
        assert both.a.heads("1") == [further, other]

    on_two(scenario)


def test_a_fork_from_the_past_is_the_latest_and_no_conflict() -> None:
    of = saver()
    first = put(of, thread(), {"n": 1})
    put(of, put(of, first, {"n": 2}, 2), {"n": 3}, 3)
    fork = put(of, first, {"n": 20}, 2)
    assert of.heads("1") == [fork]
    assert got(of, thread()).config == fork
    assert got(of, fork).parent_config == first


def test_checkpoints_without_a_parent_follow_one_another() -> None:
    of = saver()
    put(of, thread(), {"n": 1})
    second = put(of, thread(), {"n": 2}, 2)
    assert of.heads("1") == [second]


def test_namespaces_have_heads_of_their_own() -> None:
    of = saver()
    root = put(of, thread(), {"n": 1})
    child = put(of, thread(checkpoint_ns="child:1"), {"n": 2})
    assert of.heads("1") == [root]
    assert of.heads("1", "child:1") == [child]
    assert of.heads("nobody") == []


@pytest.mark.parametrize("seed", range(12))
def test_the_order_is_the_same_everywhere_and_follows_what_was_seen(seed: int) -> None:
    """Random puts on two machines that are cut and healed, with clocks that jump: the oracle is what each had seen."""

    async def scenario(both: Machines) -> None:
        chance, savers = random.Random(seed), (both.a, both.b)
        seen: list[set[str]] = [set(), set()]
        before: dict[str, set[str]] = {}
        is_cut = False
        for version in range(1, 30):
            if chance.random() < 0.25:
                is_cut = not is_cut
                both.cut()
            if not is_cut:
                await both.heal()
                seen = [seen[0] | seen[1]] * 2
            side = chance.randrange(2)
            of = savers[side]
            found = of.get_tuple(thread())
            moment = chance.randrange(2**32)
            at = put(of, found.config if found else thread(), {"n": version}, version, checkpoint_id=f"{moment:08x}")
            before[id_of(at)] = set(seen[side])
            seen[side] = seen[side] | {id_of(at)}
        await both.heal()
        orders = [[found.checkpoint["id"] for found in of.list(thread())][::-1] for of in savers]
        assert orders[0] == orders[1]
        assert len(orders[0]) == 29
        place = {checkpoint_id: index for index, checkpoint_id in enumerate(orders[0])}
        for checkpoint_id, earlier in before.items():
            assert all(place[other] < place[checkpoint_id] for other in earlier)
        maximal = set(before) - set().union(*before.values())
        assert set(map(id_of, both.a.heads("1"))) >= maximal
        assert orders[0][-1] in maximal

    on_two(scenario)
