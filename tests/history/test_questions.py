from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from fleet_app.errors import FleetError
from fleet_app.history import History
from fleet_app.history.questions import answers, events_of, series_of
from propagul.errors import LinkError
from propagul.link import NodeId
from tests.presence.scene import box
from tests.store.world import loopback, run, until

if TYPE_CHECKING:
    from pathlib import Path

NODE = NodeId("n")


def test_a_node_asks_another_for_its_seconds_and_its_events(tmp_path: Path) -> None:
    async def scenario() -> None:
        asker, asked = loopback("a"), loopback("b")
        history = History(tmp_path, asked.node)
        for _ in range(3):
            history.own(box(cpu=30.0))
        history.events.add("pull_began", "m", "pulling m")
        for route, answer in answers(history, asked.node).items():
            asked.on_query(route, answer)
        await asked.start()
        await asker.start(peers=[asked.addresses[0]])
        try:
            await until(lambda: asker.presence.get("members/" + asked.node))
            await asyncio.to_thread(history.flush)
            series = await series_of(asker.query, asked.node, ("cpu",), start_s=time.time() - 30, step_s=1)
            assert (series.node, series.step_s) == (asked.node, 1)
            assert {value for value in series.values["cpu"] if value is not None} == {30.0}
            (event,) = await events_of(asker.query, asked.node)
            assert (event.kind, event.node, event.words) == ("pull_began", asked.node, "pulling m")
            with pytest.raises(LinkError, match="does not understand"):
                await events_of(asker.query, asked.node, limit=10**9)
        finally:
            await asker.stop()
            await asked.stop()
            await asyncio.to_thread(history.close)

    run(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"start_s": -1, "step_s": 1, "values": {}},
        {"start_s": 0, "step_s": 0, "values": {}},
        {"start_s": 0, "step_s": 1, "values": {"cpu": ["high"]}},
        {"start_s": 0, "step_s": 1, "values": {"cpu": [0.0] * 3000}},
        {"start_s": 0, "step_s": 1, "values": {"cpu": [float("nan")]}},
        {"start_s": 0, "step_s": 1, "values": {str(n): [] for n in range(100)}},
        [{"at_s": 0.0, "kind": "k", "node": "n", "subject": "s", "words": "x" * 1000}],
        [{"at_s": 0.0, "kind": "k", "node": "n", "subject": "s"}],
    ],
)
def test_an_answer_of_another_shape_is_refused_without_repeating_it(answer: Any) -> None:
    async def query(*_: object) -> object:
        return answer

    async def scenario() -> None:
        with pytest.raises(FleetError, match="another shape"):
            await series_of(query, NODE, start_s=0)
        if answer != []:
            with pytest.raises(FleetError, match="another shape"):
                await events_of(query, NODE)

    asyncio.run(scenario())


@pytest.mark.parametrize("arguments", [None, 7, [], {"names": ["x"] * 100}, {"limit": -1}, {"start_s": float("nan")}])
def test_arguments_that_are_none_are_a_value_error(tmp_path: Path, arguments: Any) -> None:
    history = History(tmp_path, NODE)
    try:
        for route, answer in answers(history, NODE).items():
            if route == "events" and isinstance(arguments, dict) and "limit" not in arguments:
                continue
            with pytest.raises(ValidationError):
                asyncio.run(answer(NODE, arguments))  # type: ignore[arg-type]  # a coroutine
    finally:
        history.close()
