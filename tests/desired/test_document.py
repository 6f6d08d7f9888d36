"""`fleet.yaml`: what it means, and the line of everything that is wrong in it."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_app.desired import NOTHING, Desired, Place, Source, edits_of, parse
from fleet_app.desired.export import document_of
from fleet_app.desired.rows import Value
from fleet_app.errors import ConfigError
from tests.desired.facts import BY, node

EXAMPLE = b"""
models:
  llama3.1:8b:   {where: all, engine: ollama, settings: {num_ctx: 8192}}
  qwen2.5:0.5b:  {where: {labels: {gpu: nvidia}, vram_gb: ">=8"}, replicas: 2, loaded: true}
  old-model:     {state: absent}
nodes:
  attic:         {labels: {room: attic}, drain: true}
  laptop:        {expected: sometimes}
settings: {disruptions_per_hour: 6, pulls_per_node: 1, replace_after: 24h}
"""


def test_the_example_of_the_documentation_is_read() -> None:
    found = parse(EXAMPLE, "fleet.yaml")
    assert found.models == {
        "llama3.1:8b": {"where": "all", "engine": "ollama", "settings": {"num_ctx": 8192}},
        "qwen2.5:0.5b": {
            "where": {"labels": {"gpu": "nvidia"}, "vram_gb": ">=8"},
            "replicas": 2,
            "loaded": True,
        },
        "old-model": {"state": "absent"},
    }
    assert found.nodes == {"attic": {"labels": {"room": "attic"}, "drain": True}, "laptop": {"expected": "sometimes"}}
    assert found.settings == {"disruptions_per_hour": 6, "pulls_per_node": 1, "replace_after": "24h"}


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "y", "1e3", "0x10", "0o7", "1_000", ".inf", "12:30", "2026-11-30"]
)
def test_what_is_text_in_yaml_1_2_stays_text(text: str) -> None:
    found = parse(f"models: {{m: {{settings: {{key: {text}}}}}}}".encode(), "f")
    assert found.models["m"]["settings"] == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("8", 8), ("-3", -3), ("0.5", 0.5), ("'8'", "8"), ('"true"', "true")],
)
def test_plain_numbers_and_truths_are_what_they_look_like(text: str, value: object) -> None:
    found = parse(f"models: {{m: {{settings: {{key: {text}}}}}}}".encode(), "f").models["m"]["settings"]
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("model:\n  a: {}", "f:1: the file: 'model' is no word here; did you mean models?"),
        ("models:\n  a: {replcas: 2}", "f:2: models.a: 'replcas' is no word here; did you mean replicas?"),
        (
            "models:\n  a:\n    where: all\n    replcas: 2",
            "f:4: models.a: 'replcas' is no word here; did you mean replicas?",
        ),
        ("models:\n  a: {}\n  a: {}", "f:3: models: 'a' stands here a second time; keep one"),
        ("models:\n  a:\n    loaded: yes", "f:3: models.a.loaded is true or false, not 'yes'"),
        ("models:\n  a:\n    replicas: two", "f:3: models.a.replicas is a whole number from 1 to 1000, not 'two'"),
        ("models:\n  a:\n    replicas: true", "f:3: models.a.replicas is a whole number from 1 to 1000, not True"),
        (
            "models:\n  a: {where: {gpu: nvidia}}",
            "f:2: models.a.where has no part 'gpu'; there are nodes, labels, vram_gb, ram_gb",
        ),
        (
            "models:\n  a: {where: {vram_gb: lots}}",
            'f:2: models.a.where vram_gb: is a number of GiB with a sign before it, such as ">=8"',
        ),
        ("models:\n  a: {state: gone}", "f:2: models.a.state is present or absent, not 'gone'"),
        ("models:\n  a: [b]", "f:2: models.a: write `key: value`, one a line"),
        ("models: 5", "f:1: models: write `key: value`, one a line"),
        ("models: {a: {where: all}", "f:1: this is not YAML; check colons and indents"),
        (
            "settings:\n  replace_after: 24",
            "f:2: settings.replace_after is a length of time such as 24h, 90m or 2d, not 24",
        ),
        ("settings:\n  replace_after: 1s", "f:2: settings.replace_after is between one minute and a year"),
        ("nodes:\n  a: {labels: {'a b': c}}", "f:2: nodes.a.labels: 'a b' is no name; use letters, digits, . _ and -"),
        (
            "models:\n  a: {settings: {k: [1]}}",
            "f:2: models.a.settings.k is text of 1 to 256 printable characters, not [1]",
        ),
        ("models:\n  a: {replicas: 0}", "f:2: models.a.replicas is a whole number from 1 to 1000, not 0"),
        ("models:\n  a: {source: me}", "f:2: models.a: 'source' is no word here"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(content: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(content.encode(), "f")
    assert str(raised.value) == complaint


def _complaint_about(content: bytes) -> str:
    try:
        parse(content, "f")
    except ConfigError as error:
        return str(error)
    return "f"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_complaint_of_one_line(content: bytes) -> None:
    complaint = _complaint_about(content)
    assert complaint.startswith("f")
    assert "\n" not in complaint


def test_a_tag_makes_no_object_and_a_bomb_of_aliases_is_small() -> None:
    with pytest.raises(ConfigError):
        parse(b"models: {a: {where: !!python/object/apply:os.system [echo]}}", "f")
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    with pytest.raises(ConfigError):
        parse(bomb.encode(), "f")


def test_what_is_exported_is_read_as_the_same() -> None:
    nodes = [node("attic"), node("laptop")]
    edits = edits_of(parse(EXAMPLE, "f"), Desired(), nodes, Source("f@attic"))
    desired = Desired.of({edit.place: Value(edit.value, BY) for edit in edits})
    text = document_of(desired, {place.id: place.name for place in nodes})
    again = edits_of(parse(text.encode(), "g"), Desired(), nodes, Source("f@attic"))
    assert {edit.place: edit.value for edit in again} == {edit.place: edit.value for edit in edits}


_PRINTABLE = st.text(min_size=1, max_size=40).filter(str.isprintable)
_LOOKS_LIKE = st.sampled_from(["yes", "1e3", "0x10", "~", "null", "True", "8", "0.5", "-", "a: b", "# a", "|", "="])

_NUMBERS = st.integers(1 - 10**18, 10**18 - 1) | st.floats(-1e18, 1e18, exclude_min=True, exclude_max=True)


@given(_PRINTABLE | _LOOKS_LIKE, _PRINTABLE | _LOOKS_LIKE | _NUMBERS | st.booleans())
def test_any_name_and_any_value_that_is_exported_is_read_as_the_same(name: str, value: object) -> None:
    places = [Place("models", name, "where"), Place("models", name, "settings", "key")]
    values = {place: Value(held, BY) for place, held in zip(places, ({"nodes": [name]}, value), strict=True)}
    found = parse(document_of(Desired.of(values), {}).encode(), "f")
    assert found.models == {name: {"where": {"nodes": [name]}, "settings": {"key": value}}}
    assert type(cast("dict[str, object]", found.models[name]["settings"])["key"]) is type(value)


def test_a_model_that_a_file_names_is_declared_whole_and_what_it_does_not_name_stays() -> None:
    nodes = [node("attic")]
    before = Desired.of(
        {
            Place("models", "a", "where"): Value("all", BY),
            Place("models", "a", "replicas"): Value(2, BY),
            Place("models", "b", "where"): Value("all", BY),
            Place("models", "b", "source"): Value("f@attic", BY),
            Place("models", "c", "where"): Value("all", BY),
            Place("models", "c", "source"): Value("other@attic", BY),
            Place("nodes", nodes[0].id, "drain"): Value(True, BY),
        }
    )
    document = parse(b"models: {a: {loaded: true}}\nnodes: {attic: {labels: {x: y}}}", "f")
    edits = {str(edit.place): edit.value for edit in edits_of(document, before, nodes, Source("f@attic"))}
    assert edits == {
        "models.a.replicas": NOTHING,
        "models.a.loaded": True,
        "models.a.where": "all",
        "models.a.source": "f@attic",
        f"nodes.{nodes[0].id}.labels.x": "y",
    }
    pruned = {str(e.place) for e in edits_of(document, before, nodes, Source("f@attic"), prune=True)} - {*edits}
    assert pruned == {"models.b.where", "models.b.source"}


def test_pruning_leaves_what_another_file_is_watched_for() -> None:
    """Two files at once: one declared it, the other is watched for it."""
    rows = {"where": "all", "source": "f@attic", "managed_by": "fleet.yaml@cellar"}
    before = Desired.of({Place("models", "a", field): Value(value, BY) for field, value in rows.items()})
    assert edits_of(parse(b"", "f"), before, [], Source("f@attic"), prune=True) == []
    gone = edits_of(parse(b"", "fleet.yaml"), before, [], Source("fleet.yaml@cellar", watched=True), prune=True)
    assert {edit.place.field for edit in gone} == {*rows}


@pytest.mark.parametrize("watched", [True, False])
def test_a_model_that_another_file_is_watched_for_is_refused_and_the_file_named(*, watched: bool) -> None:
    before = Desired.of({Place("models", "a", "managed_by"): Value("fleet.yaml@cellar", BY)})
    with pytest.raises(ConfigError, match=r"f:1: models.a is managed by fleet.yaml@cellar"):
        edits_of(parse(b"models: {a: {}}", "f"), before, [], Source("fleet.yaml@attic", watched=watched))
