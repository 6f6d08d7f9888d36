"""Samples and frames: gaps where there was silence, everything for a newcomer, only what is new for the others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet_app.dashboard.frames import START, Frames
from fleet_app.dashboard.history import SAMPLES_MAX, History
from fleet_app.view import FleetView
from tests.dashboard.harness import gpu, identity, node, presence, two_nodes

if TYPE_CHECKING:
    from fleet_app.dashboard.frames import Position

RACK_2 = identity("rack-2")


def a_frames() -> tuple[History, Frames]:
    history = History()
    return history, Frames(epoch="e", history=history, step_s=2.0)


def decoded(frames: Frames, position: Position = START) -> dict[str, Any]:
    lines = frames.since(position).decode().split("\n")
    assert lines[0] == "event: view"
    assert lines[3:] == ["", ""]
    found: dict[str, Any] = json.loads(lines[2].removeprefix("data: "))
    return found


def test_a_down_node_makes_gaps_and_never_a_flat_line() -> None:
    history = History()
    history.sample(two_nodes())
    for heard_s in (1.0, 14.0, None):
        history.sample(two_nodes(state="down", heard_s=heard_s))
    assert history.tail(5)[RACK_2]["cpu"] == [None, 61.0, None, None, None]


def test_a_heartbeat_that_is_late_makes_a_gap_before_the_node_counts_as_down() -> None:
    history = History()
    history.sample(two_nodes(heard_s=4.9))
    history.sample(two_nodes(heard_s=5.1))
    assert history.tail(2)[RACK_2]["cpu"] == [61.0, None]


def test_what_a_box_cannot_tell_is_a_gap_and_not_zero() -> None:
    history = History()
    view = FleetView(nodes=(node("rack-2", presence("rack-2", cpu=None, gpus=(gpu(percent=None),))),))
    history.sample(view)
    newest = {name: values[0] for name, values in history.tail(1)[RACK_2].items()}
    assert newest == {"cpu": None, "ram": 33.3, "gpu0": None, "vram0": 75.8}


def test_history_is_bounded_and_forgets_nodes_and_cards_that_left() -> None:
    history = History()
    with_gpu = FleetView(nodes=(node("rack-2", presence("rack-2", gpus=(gpu(),))),))
    without = FleetView(nodes=(node("rack-2", presence("rack-2")),))
    for _ in range(2 * SAMPLES_MAX):
        history.sample(with_gpu)
    assert len(history.tail(SAMPLES_MAX)[RACK_2]["cpu"]) == SAMPLES_MAX
    for _ in range(SAMPLES_MAX):
        history.sample(without)
    assert set(history.tail(1)[RACK_2]) == {"cpu", "ram"}
    history.sample(FleetView(nodes=()))
    assert history.tail(1) == {}


def test_a_newcomer_gets_all_samples_and_a_follower_only_the_new_ones() -> None:
    history, frames = a_frames()
    history.sample(two_nodes())
    frames.update(two_nodes().to_json())
    follower = frames.newest
    for _ in range(2):
        history.sample(two_nodes())
    frames.update(two_nodes().to_json())
    assert len(decoded(frames)["history"]["nodes"][RACK_2]["cpu"]) == 3
    assert len(decoded(frames, follower)["history"]["nodes"][RACK_2]["cpu"]) == 2


def test_an_age_alone_is_no_news_and_anything_else_is() -> None:
    _, frames = a_frames()
    view = two_nodes()
    assert frames.update(view.to_json())
    older = replace(view, nodes=(view.nodes[0], replace(view.nodes[1], heard_s=3.3)))
    assert not frames.update(older.to_json())
    assert frames.update(replace(view, notices=("news",)).to_json())


def test_a_frame_is_the_view_itself_with_an_epoch_and_a_rising_sequence() -> None:
    _, frames = a_frames()
    view = two_nodes()
    frames.update(view.to_json())
    frames.update(replace(view, notices=("news",)).to_json())
    frame = decoded(frames)
    assert frame["sequence"] == 2
    assert frames.since(START).split(b"\n")[1] == b"id: e:2"
    assert {key: frame[key] for key in ("nodes", "models", "notices")} == replace(view, notices=("news",)).to_json()


def test_hostile_text_cannot_break_out_of_its_event() -> None:
    _, frames = a_frames()
    notice = "one\r\ndata: forged\n\nevent: beat\u2028\ud800\x00"
    frames.update(FleetView(nodes=(), notices=(notice,)).to_json())
    assert decoded(frames)["notices"] == [notice]


def test_all_subscribers_at_one_place_share_one_encoding() -> None:
    _, frames = a_frames()
    frames.update(two_nodes().to_json())
    assert frames.since(START) is frames.since(START)
