"""One machine in a small world: what is declared comes true, and what goes wrong is said."""

from __future__ import annotations

import pytest

from fleet_app.desired import NOTHING, Edit, Place
from tests.reconcile.world import GB, World

HOUR = 3600.0


def test_a_model_declared_everywhere_arrives_everywhere() -> None:
    world = World(["a", "b", "c"])
    world.declare("a", "llama3.2", where="all")
    world.run(120)
    assert world.having("llama3.2") == ["a", "b", "c"]
    assert [world.condition(name, "llama3.2").kind for name in "abc"] == ["Ready"] * 3  # type: ignore[union-attr]


def test_a_model_declared_absent_goes_and_what_is_undeclared_stays() -> None:
    world = World(["a", "b"])
    for node in world.nodes.values():
        node.engine.models |= {"old:latest": False, "mine:latest": True}
    world.declare("a", "old", where="all", state="absent")
    world.run(60)
    assert [sorted(node.engine.models) for node in world.nodes.values()] == [["mine:latest"]] * 2


def test_dropping_a_declaration_deletes_nothing() -> None:
    world = World(["a"])
    world.declare("a", "m", where="all")
    world.run(120)
    world.edit("a", Edit(Place("models", "m", "where"), NOTHING))
    world.run(HOUR)
    assert world.having("m") == ["a"]
    assert world.condition("a", "m") is None


def test_a_node_that_was_away_converges_on_return() -> None:
    world = World(["a", "b"])
    world.run(5)
    world.crash("b")
    world.declare("a", "m", where="all")
    world.run(300)
    assert world.having("m") == ["a"]
    world.restart("b")
    world.run(120)
    assert world.having("m") == ["a", "b"]


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_as_many_nodes_take_a_model_as_there_are_to_be_replicas(replicas: int) -> None:
    world = World(["a", "b", "c", "d", "e"], seed=replicas)
    world.run(10)
    world.declare("a", "m", where="all", replicas=replicas)
    world.run(300)
    assert len(world.having("m")) == replicas


def test_a_claimant_that_fails_leaves_the_replica_to_others() -> None:
    world = World(["a", "b", "c"])
    world.run(10)
    world.declare("a", "m", where="all", replicas=1)
    world.run(3)
    (_, first, _), *_ = world.actions("pull")
    world.crash(first)
    world.restart(first)
    world.nodes[first].engine.fails = 10**6
    world.run(900)
    assert world.having("m") != []
    assert first not in world.having("m")


def test_a_replica_counts_as_lost_only_after_a_day_and_never_where_it_comes_and_goes() -> None:
    for expected, found in (("always", 1), ("sometimes", 0)):
        world = World(["a", "b"])
        world.nodes["b"].engine.models["m:latest"] = False
        world.edit("a", Edit(Place("nodes", "b", "expected"), expected))
        world.declare("a", "m", where="all", replicas=1)
        world.run(30)
        world.crash("b")
        world.gossip_s = 60
        world.run(23 * HOUR)
        assert world.having("m") == ["b"]
        assert world.actions("pull") == []
        world.run(2 * HOUR)
        assert len(world.actions("pull")) == found


def test_a_full_disk_blocks_with_the_amount_that_is_missing() -> None:
    world = World(["attic", "b"])
    world.nodes["attic"].disk_bytes = 2 * GB
    world.nodes["b"].engine.models["m:latest"] = False
    world.declare("b", "m", where="all")
    world.run(60)
    condition = world.condition("attic", "m")
    assert condition is not None
    assert (condition.kind, condition.reason) == ("Blocked", "needs 3.0 GB more disk on attic")
    assert world.nodes["attic"].actions == []


def test_a_pull_that_turns_out_too_large_is_stopped() -> None:
    world = World(["a"])
    world.nodes["a"].disk_bytes = 2 * GB
    world.declare("a", "m", where="all")
    world.run(HOUR)
    condition = world.condition("a", "m")
    assert condition is not None
    assert condition.kind == "Blocked"
    assert "more disk" in condition.reason
    assert len(world.actions("pull")) == 1


def test_deletes_have_a_budget_an_hour() -> None:
    world = World(["a"])
    world.nodes["a"].engine.models = {f"m{number}:latest": False for number in range(10)}
    for number in range(10):
        world.declare("a", f"m{number}", where="all", state="absent")
    world.run(600)
    assert len(world.deleted) == 6
    blocked = [world.condition("a", f"m{number}") for number in range(10)]
    assert any(c is not None and c.kind == "Blocked" and "6 disruptions an hour" in c.reason for c in blocked)
    world.run(HOUR)
    assert len(world.deleted) == 10


def test_what_fails_for_ever_is_tried_ever_more_rarely_and_says_the_engines_words() -> None:
    world = World(["a"])
    world.nodes["a"].engine.fails = 10**6
    world.nodes["a"].engine.pull_s = 0.1
    world.gossip_s = 60
    world.declare("a", "m", where="all")
    world.run(6 * HOUR)
    condition = world.condition("a", "m")
    assert condition is not None
    assert (condition.kind, condition.reason) == ("Degraded", "pull model manifest: no route to host")
    starts = [at for at, _, _ in world.actions("pull")]
    assert len(starts) < 6 * 12 + 20
    assert min(later - sooner for sooner, later in zip(starts[-5:], starts[-4:], strict=False)) > 250


def test_what_fails_says_so_from_its_first_failure_on() -> None:
    world = World(["a"])
    world.nodes["a"].engine.fails = 10**6
    world.nodes["a"].engine.pull_s = 0.1
    world.declare("a", "m", where="all")
    for _ in range(40):
        world.run(2)
        condition = world.condition("a", "m")
        assert condition is not None
        assert "changed often" not in condition.reason
        assert condition.kind in {"Progressing", "Degraded"}
    assert condition is not None
    assert condition.kind == "Degraded"


def test_a_declaration_that_flaps_costs_a_few_actions_and_its_last_word_is_reached() -> None:
    world = World(["a", "b"])
    world.nodes["b"].engine.models["m:latest"] = False
    for number in range(100 * 20):
        world.declare("a", "m", where="all", state="absent" if number % 2 else "present")
        world.run(0.01)
    assert len(world.actions()) <= 2 * (3 + 20 / 20 + 1)
    world.declare("a", "m", where="all", state="present")
    world.run(300)
    assert world.having("m") == ["a", "b"]


def test_present_and_absent_declared_at_once_pulls_nothing_and_deletes_nothing() -> None:
    world = World(["a", "b"])
    world.nodes["a"].engine.models["m:latest"] = False
    world.declare("a", "m", where="all", state="present")
    world.nodes["b"].engine.condition = "unreachable"
    world.run(10)
    world.partition(["a"], ["b"])
    world.edit("a", Edit(Place("models", "m", "state"), NOTHING))
    world.declare("a", "m", state="present")
    world.declare("b", "m", state="absent")
    world.heal()
    world.nodes["b"].engine.condition = "ready"
    world.run(HOUR)
    assert world.having("m") == ["a"]
    condition = world.condition("a", "m")
    assert condition is not None
    assert condition.kind == "Blocked"
    assert "at the same time" in condition.reason


def test_edits_of_different_fields_on_both_sides_of_a_cut_merge() -> None:
    world = World(["a", "b"])
    world.declare("a", "m", where="all", replicas=1)
    world.run(60)
    world.partition(["a"], ["b"])
    world.declare("a", "m", replicas=2)
    world.declare("b", "m", loaded=True, settings={"num_ctx": 8192})
    world.run(60)
    world.heal()
    world.run(300)
    spec = world.desired("a").models["m"]
    assert (spec.replicas, spec.loaded, spec.settings) == (2, True, {"num_ctx": 8192})
    assert spec.conflicts() == {}
    assert [node.engine.models for node in world.nodes.values()] == [{"m:latest": True}] * 2


def test_both_sides_of_a_cut_may_take_the_one_replica_and_none_is_deleted() -> None:
    world = World(["a", "b", "c", "d"])
    world.run(10)
    world.partition(["a", "b"], ["c", "d"])
    for name in ("a", "c"):
        world.declare(name, "m", where="all", replicas=1)
    world.run(20)
    world.heal()
    world.run(900)
    assert 1 <= len(world.having("m")) <= 2
    assert world.deleted == []
    surplus = [
        c.reason for n in world.having("m") if (c := world.condition(n, "m")) is not None and "more than" in c.reason
    ]
    assert len(surplus) == len(world.having("m")) - 1


def test_an_engine_that_is_away_is_not_taken_for_one_that_lost_its_models() -> None:
    world = World(["a", "b", "c"])
    world.nodes["a"].engine.models["m:latest"] = False
    world.declare("a", "m", where="all", replicas=1)
    world.run(60)
    world.nodes["a"].engine.condition = "loading"
    world.run(HOUR)
    assert world.actions() == []
    condition = world.condition("a", "m")
    assert condition is not None
    assert (condition.kind, condition.reason) == ("Blocked", "Ollama is loading")


def test_a_pull_goes_on_while_its_engine_does_not_answer_looks() -> None:
    world = World(["a"])
    world.nodes["a"].engine.pull_s = 100.0
    world.declare("a", "m", where="all")
    world.run(5)
    world.nodes["a"].engine.condition = "unhealthy"
    world.run(30)
    world.nodes["a"].engine.condition = "ready"
    world.run(200)
    assert world.having("m") == ["a"]
    assert len(world.actions("pull")) == 1


def test_a_pull_ends_when_its_model_is_declared_absent_or_for_another_engine() -> None:
    for fields in ({"state": "absent"}, {"engine": "vllm"}, {"where": ["b"]}):
        world = World(["a", "b"])
        world.nodes["a"].engine.pull_s = 100.0
        world.declare("a", "m", where=["a"])
        world.run(5)
        world.declare("a", "m", **fields)
        world.run(300)
        assert "a" not in world.having("m")


def test_a_drained_nodes_replica_is_replaced_and_stays() -> None:
    world = World(["a", "b"])
    world.nodes["a"].engine.models["m:latest"] = False
    world.declare("a", "m", where="all", replicas=1)
    world.run(30)
    world.edit("b", Edit(Place("nodes", "a", "drain"), True))
    world.run(300)
    assert world.having("m") == ["a", "b"]


def test_a_model_is_loaded_kept_loaded_and_unloaded_as_declared() -> None:
    world = World(["a"])
    world.declare("a", "m", where="all", loaded=True, settings={"num_ctx": 4096})
    world.run(120)
    assert world.nodes["a"].engine.models == {"m:latest": True}
    assert [(action.verb, dict(action.settings)) for _, _, action in world.actions("load")] == [
        ("load", {"num_ctx": 4096})
    ]
    world.nodes["a"].engine.models["m:latest"] = False
    world.run(70)
    assert world.nodes["a"].engine.models == {"m:latest": True}
    world.declare("a", "m", loaded=False)
    world.run(70)
    assert world.nodes["a"].engine.models == {"m:latest": False}


def test_a_loaded_model_that_brings_out_no_token_is_shown_and_nothing_is_restarted() -> None:
    world = World(["a"])
    world.nodes["a"].engine.models["m:latest"] = True
    world.nodes["a"].engine.is_mute = True
    world.declare("a", "m", where="all", loaded=True)
    world.gossip_s = 30.0
    world.run(400)
    condition = world.condition("a", "m")
    assert condition is not None
    assert (condition.kind, condition.reason) == ("Degraded", "it is loaded, and brings out no token")
    assert {action.verb for _, _, action in world.actions()} == {"ask"}
    world.nodes["a"].engine.is_mute = False
    world.run(200)
    condition = world.condition("a", "m")
    assert condition is not None
    assert condition.kind == "Ready"
    asked = world.actions("ask")
    world.run(HOUR)
    assert len(world.actions("ask")) - len(asked) <= HOUR / 300 + 1
