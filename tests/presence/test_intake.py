from __future__ import annotations

from typing import Any

import pytest

from fleet_app.presence.account import Account
from fleet_app.presence.intake import BURST_ROWS, DEPTH_MAX, KEYS_MAX, NODE_BYTES_MAX, REFUSED, ROWS_MAX, Bounds, weight
from fleet_app.presence.voice import Voice
from propagul import Heard
from tests.presence.scene import Board, box, engine

ROW = "nodes/attic"


def heard(value: object, origin: str = "a") -> Heard:
    return Heard(value=value, age_s=0.0, origin=origin)


def rows(**extra: Any) -> dict[str, Heard]:
    """The rows of an honest node, and some more."""
    board = Board()
    Voice(board, row=ROW).say(box(backends=(engine(),)), 0.0, watched=False)
    return board.heard(ROW) | {name.replace("_", "/"): heard(value) for name, value in extra.items()}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "admitted"),
    [
        (nested(DEPTH_MAX), True),
        (nested(DEPTH_MAX + 1), False),
        (nested(100_000), False),
        ([{str(n): n} for n in range(KEYS_MAX)], True),
        ([{str(n): n} for n in range(KEYS_MAX + 1)], False),
        ("x" * (NODE_BYTES_MAX - 10), True),
        ("x" * (NODE_BYTES_MAX + 1), False),
        ([0] * 2_000_000, False),
    ],
)
def test_values_have_bounds(value: object, admitted: bool) -> None:  # noqa: FBT001
    assert (weight(value) is not None) is admitted


def admitted(said: dict[str, Heard]) -> dict[str, Heard]:
    """The rows as they come through the bounds, in the order of their names."""
    bounds = Bounds()
    values = {name: bounds.admit(name, said[name].value) for name in sorted(said)}
    return {name: heard(value) for name, value in values.items() if value is not None}


def test_what_is_out_of_bounds_is_left_out_and_counted_and_the_rest_is_read() -> None:
    account = Account(0.0)
    account.take(admitted(rows(conditions_0=nested(50), pulls="x" * 2 * NODE_BYTES_MAX, gpus_0=7)), 0.0)
    told = account.presence(0.0, 0.0)
    assert told
    assert told.name == "attic"
    assert len(told.backends[0].models) == 2
    assert told.cpu
    assert account.refused == 3


def test_a_node_has_a_megabyte_in_all_and_so_many_rows() -> None:
    account = Account(0.0)
    account.take(admitted(rows(**{f"zz_{n}": "x" * 300_000 for n in range(10)})), 0.0)
    assert account.refused == 7
    crowded, kept = Account(0.0), admitted(rows(**{f"zz_{n:05}": n for n in range(2 * ROWS_MAX)}))
    crowded.take(kept, 0.0)
    assert len(kept) == ROWS_MAX + 1
    assert crowded.refused == 1
    assert crowded.presence(0.0, 0.0)


def test_a_row_that_shrinks_or_goes_makes_room() -> None:
    bounds = Bounds()
    large = "x" * (NODE_BYTES_MAX // 2)
    assert [bounds.admit(name, large) for name in "abc"] == [large, REFUSED, REFUSED]
    assert bounds.admit("a", "small") == "small"
    assert bounds.admit("b", large) == large
    bounds.drop("b")
    assert bounds.admit("c", large) == large


def test_a_node_that_floods_is_shown_as_such_and_read_now_and_then() -> None:
    account, read, now = Account(0.0), 0, 0.0
    for tick in range(int(BURST_ROWS) + 2000):
        now = tick / 10
        account.take(rows(zz=tick, yy=tick), now)
        read += account._rows.get("zz") == tick
    assert account.is_flooded
    assert read * 2 <= BURST_ROWS + 4 * now + 10
    account.take(rows(), now + 60)
    assert not account.is_flooded


def test_an_honest_node_never_floods_and_a_large_inventory_is_read_at_once() -> None:
    board, account = Board(), Account(0.0)
    voice = Voice(board, row=ROW)
    large = engine(models=5000)
    for second in range(30):
        listed = large.models[second // 15 :]
        backends = (large.model_copy(update={"models": listed}),)
        voice.say(box(at_s=1_000_000.0 + second, cpu=50.0 * (second % 3), backends=backends), second, watched=True)
        account.take(board.heard(ROW), second)
        assert not account.is_flooded
    told = account.presence(30.0, 30.0)
    assert told
    assert told.backends[0].models == listed


def test_rows_that_a_former_process_left_are_no_part_of_the_node() -> None:
    account = Account(0.0)
    left = {"engines/7": heard({"kind": "vllm", "url": "http://127.0.0.1:8000", "condition": "ready"}, origin="b")}
    account.take(rows() | left, 0.0)
    told = account.presence(0.0, 0.0)
    assert told
    assert [one.kind for one in told.backends] == ["ollama"]
    assert account.refused == 0


def test_what_has_not_said_who_it_is_is_nobody_yet() -> None:
    account = Account(0.0)
    account.take({"": heard([1, 5, 12, 0, 3])}, 0.0)
    assert account.presence(0.0, 0.0) is None
