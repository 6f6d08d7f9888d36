from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_app.presence import BackendPresence, Condition, NodePresence, Pull
from fleet_app.presence import beat as beats
from fleet_app.presence.rows import PAGE_MODELS, presence_of, read_standing, standing_rows
from tests.presence.scene import MIB, box, engine, gpu

NUMBERS = {"http://127.0.0.1:11434": 0, "http://127.0.0.1:8000": 1}


def there_and_back(said: NodePresence) -> NodePresence:
    """What a reader makes of what a node wrote."""
    rows = msgpack.unpackb(msgpack.packb(standing_rows(said, NUMBERS)))
    beat = msgpack.unpackb(msgpack.packb(beats.pack(said, NUMBERS, next_s=12.0)))
    standing = read_standing(rows)
    assert standing is not None
    assert standing.refused == 0
    return presence_of(standing, beats.unpack(beat))


FULL = box(
    gpus=(gpu(0), gpu(1)),
    backends=(engine(models=3, in_flight=2), engine("http://127.0.0.1:8000", models=1)),
    pulls=(Pull(model="llama3.1:8b", url="http://127.0.0.1:11434", completed_bytes=5, total_bytes=9),),
    conditions=(Condition(model="llama3.1:8b", kind="Blocked", reason="needs 7.1 GB more disk on attic"),),
    in_flight=2,
)


def test_all_that_a_node_says_arrives() -> None:
    assert there_and_back(FULL) == FULL


def test_what_arrives_is_a_presence_in_all_its_bounds() -> None:
    arrived = there_and_back(FULL)
    assert NodePresence.model_validate(arrived.model_dump()) == arrived


def test_a_box_that_can_tell_nothing_tells_nothing() -> None:
    bare = FULL.model_copy(update={"cpu": None, "ram": None, "disk": None, "gpus": (), "backends": (), "pulls": ()})
    arrived = there_and_back(bare)
    assert (arrived.cpu, arrived.ram, arrived.disk, arrived.gpus) == (None, None, None, ())


def test_figures_come_as_people_read_them() -> None:
    arrived = there_and_back(
        FULL.model_copy(update={"cpu": FULL.cpu and FULL.cpu.model_copy(update={"percent": 12.4})})
    )
    assert arrived.cpu
    assert arrived.cpu.percent == 12.0


def test_a_beat_of_a_box_with_a_gpu_and_an_engine_is_short() -> None:
    said = box(gpus=(gpu(),), backends=(engine(),))
    assert len(msgpack.packb(beats.pack(said, NUMBERS, next_s=12.0))) <= 48
    assert len(msgpack.packb(beats.pack(box(), NUMBERS, next_s=12.0))) <= 20


def test_an_inventory_of_thousands_is_paged_and_never_cut() -> None:
    said = box(backends=(engine(models=1234),))
    rows = standing_rows(said, NUMBERS)
    pages = [row for name, row in rows.items() if name.startswith("models/")]
    assert all(isinstance(page, list) and len(page) <= PAGE_MODELS for page in pages)
    assert [model.name for model in there_and_back(said).backends[0].models] == [
        f"model-{n:04}:7b" for n in range(1234)
    ]


def test_one_bad_part_hides_no_other() -> None:
    rows: dict[str, Any] = standing_rows(FULL, NUMBERS)
    rows["models/0/0"][1] = {"name": 7}
    rows["engines/1"] = "no engine"
    rows["conditions/0"].append({"model": "x", "kind": "Enlightened"})
    standing = read_standing(rows)
    assert standing is not None
    assert standing.refused == 3
    assert [len(one.models) for one in standing.engines.values()] == [2]
    assert standing.conditions == FULL.conditions


def test_rows_and_fields_and_words_of_a_newer_node_are_passed_over() -> None:
    rows: dict[str, Any] = standing_rows(FULL, NUMBERS)
    rows["dreams/0"] = [1, 2, 3]
    rows["engines/0"] |= {"mood": "fine", "kind": "unheard-of", "can": ["pull", "dream"]}
    rows["models/0/0"][0] |= {"capabilities": ["chat", "telepathy"], "colour": "red"}
    beat = [*beats.pack(FULL, NUMBERS, next_s=12.0), "something new"]
    standing = read_standing(rows)
    assert standing is not None
    assert standing.refused == 0
    arrived = presence_of(standing, beats.unpack(beat))
    assert (arrived.backends[0].kind, arrived.backends[0].can) == ("unknown", ("pull",))
    assert arrived.backends[0].models[0].capabilities == ("chat",)
    assert arrived.cpu == FULL.cpu


def test_a_field_that_an_engine_gains_travels_by_itself() -> None:
    """Rows that stand name their fields, so that who adds one to a shape need not touch how it travels."""
    told = standing_rows(FULL, NUMBERS)["engines/0"]
    assert isinstance(told, dict)
    moving = {"in_flight", "running", "queued", "models"}
    assert told.keys() == {name for name in BackendPresence.model_fields if name not in moving} - {"reason"}


@pytest.mark.parametrize("row", [None, 7, "x", {}, [], [1], [2, 0, 0, 0], [[1], 1, 1, 1]])
def test_what_is_no_beat_is_none(row: object) -> None:
    assert beats.unpack(row) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
        max_leaves=20,
    ).map(
        lambda rest: [
            1,
            5,
            12,
            0,
            rest,
            rest,
            rest,
            rest,
            rest if isinstance(rest, list) else [0] * 16,
            [3, rest, 1, 2],
        ]
    )
)
def test_whatever_stands_in_a_beat_what_is_read_is_within_bounds(row: list[object]) -> None:
    standing = read_standing(standing_rows(FULL, NUMBERS))
    assert standing is not None
    arrived = presence_of(standing, beats.unpack(row))
    NodePresence.model_validate(arrived.model_dump())


def test_noise_is_no_news_and_a_step_is() -> None:
    def news(**changes: Any) -> bool:
        before = box(gpus=(gpu(),))
        after = box(at_s=1_000_012.0, **{"gpus": (gpu(),), **changes})
        return beats.moved(*(beats.pack(said, NUMBERS, next_s=12.0) for said in (before, after)))

    assert not news()
    assert not news(cpu=14.0)
    assert news(cpu=30.0)
    assert not news(gpus=(gpu(percent=42.0, used_mib=4100),))
    assert news(gpus=(gpu(percent=90.0),))
    assert news(gpus=(gpu(used_mib=5000),))
    assert news(gpus=())
    assert news(in_flight=1)
    assert news(draining=True)
    assert news(backends=(engine(),))


def test_memory_in_use_is_never_above_what_there_is() -> None:
    standing = read_standing(standing_rows(FULL, NUMBERS))
    assert standing is not None
    arrived = presence_of(standing, beats.unpack([1, 5, 12, 0, 3, 2**39, 2**39, 0]))
    assert arrived.ram
    assert arrived.ram.used_bytes == arrived.ram.total_bytes
    assert arrived.ram.total_bytes % MIB == 0
