"""Plans: what would be pulled and deleted where, and how boxes would stand afterwards."""

from __future__ import annotations

from dataclasses import replace

from fleet_app.desired import Holds, NodeSpec
from fleet_app.desired.plan import plan
from fleet_app.desired.rows import Value
from tests.desired.facts import BY, GB, GIB, declared, node


def test_a_plan_says_who_pulls_what_and_what_is_left_of_the_disk() -> None:
    found = plan(
        declared(m={"where": "all", "loaded": True}), [node("a", "m:latest", vram_gib=8), node("b", vram_gib=8)]
    )
    assert [(step.node, step.verb, step.size_bytes) for step in found.steps] == [
        ("a", "load", 4 * GB),
        ("b", "pull", 4 * GB),
        ("b", "load", 4 * GB),
    ]
    assert found.pull_bytes == 4 * GB
    disk = found.after["b"].disk
    assert disk is not None
    assert (disk.used_bytes, found.after["b"].vram_used_bytes, found.after["b"].vram_bytes) == (4 * GB, 4 * GB, 8 * GIB)


def test_every_delete_is_named_and_frees_its_bytes() -> None:
    nodes = [node("a", "m:latest", "m:1b", "mine:latest"), node("b", "m:1b")]
    found = plan(declared(m={"where": "all", "state": "absent"}), nodes)
    assert [(step.node, step.verb, step.model) for step in found.steps] == [("a", "delete", "m")]


def test_a_drained_node_takes_nothing_and_keeps_what_it_has() -> None:
    nodes = [
        replace(each, spec=NodeSpec(each.id, {("drain",): Value(True, BY)}))
        for each in (node("attic"), node("cellar", "m:latest", "r:latest"))
    ]
    found = plan(declared(m={"where": "all"}, r={"where": "all", "replicas": 2}), [*nodes, node("free", "m:latest")])
    assert [(step.node, step.verb, step.model) for step in found.steps] == [("free", "pull", "r")]
    assert found.stuck == [("attic", "m", "attic is drained and takes no new models")]


def test_replicas_are_planned_for_those_who_will_take_them() -> None:
    nodes = [node(name) for name in "abcdef"]
    found = plan(declared(m={"where": "all", "replicas": 2}), nodes)
    assert len({step.node for step in found.steps}) == len(found.steps) == 2


def test_what_cannot_be_done_is_said_with_what_is_missing() -> None:
    small = node("attic")
    assert small.disk is not None
    small = replace(small, disk=small.disk.model_copy(update={"used_bytes": 98 * GB}))
    found = plan(declared(m={"where": "attic"}, v={"where": "all", "engine": "vllm"}), [small, node("b", "m:latest")])
    assert [(stuck.node, stuck.reason) for stuck in found.stuck] == [
        ("attic", "needs 3.0 GB more disk on attic"),
        ("attic", "no vLLM runs on attic"),
        ("b", "no vLLM runs on b"),
    ]


def test_an_engine_that_cannot_pull_says_so_and_one_that_is_away_is_waited_for() -> None:
    fixed = node("a", kind="vllm", can=())
    away = node("b", condition="needs_key", reason="it wants an API key, and ours is missing or wrong")
    found = plan(declared(m={"where": "all"}), [fixed, away])
    assert [stuck.reason for stuck in found.stuck] == [
        "vLLM on a does not have it and cannot pull; start it with this model",
        "Ollama is needs key: it wants an API key, and ours is missing or wrong",
    ]


def test_of_two_engines_beside_a_node_the_one_that_can_pull_is_told_to_whichever_stands_first() -> None:
    for kinds in (("vllm", "ollama"), ("ollama", "vllm")):
        engines = tuple(
            node(f"{number}", kind=kind, can=("pull",) if kind == "ollama" else ()).engines[0]
            for number, kind in enumerate(kinds)
        )
        found = plan(declared(m={"where": "all"}), [replace(node("a"), engines=engines)])
        assert [(step.verb, step.engine) for step in found.steps] == [("pull", "ollama")]


def test_a_node_that_is_away_follows_when_it_returns() -> None:
    gone = replace(node("b"), is_up=False, engines=())
    had = replace(node("c"), is_up=False, engines=(), holds=Holds(has=frozenset({"m"})))
    found = plan(declared(m={"where": "all"}), [node("a", "m:latest"), gone, had])
    assert found.later == [("b", "m")]
    assert found.steps == []


def test_a_declaration_without_where_plans_nothing() -> None:
    found = plan(declared(m={"replicas": 2}, n={"state": "absent"}), [node("a", "n:latest")])
    assert (found.steps, found.stuck, found.later) == ([], [], [])
