from __future__ import annotations

import asyncio
import platform
import threading
from typing import TYPE_CHECKING

from fleet_app.gateway import ServingSide
from fleet_app.heartbeat import SAMPLE_S_MAX, Heartbeat
from fleet_app.presence import Condition, Pull
from fleet_app.telemetry import Telemetry
from propagul.link import NodeId
from tests.presence.scene import engine

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def heartbeat(tmp_path: Path, now: list[float]) -> Heartbeat:
    pulls, conditions = (Pull(model="m", url="u"),), (Condition(model="m", kind="Progressing"),)
    return Heartbeat(
        name="attic",
        data_dir=tmp_path,
        engines=lambda: (engine(),),
        serving=ServingSide(node=NodeId("n"), backends=tuple),
        pulls=lambda: pulls,
        conditions=lambda: conditions,
        monotonic=lambda: now[0],
    )


def test_a_heartbeat_is_all_that_a_node_has_to_say(tmp_path: Path) -> None:
    said = heartbeat(tmp_path, [0.0]).presence()
    assert said.platform == f"{platform.system()}/{platform.machine()}".lower()
    assert (said.name, said.state, said.cpu) == ("attic", "up", None)
    assert (len(said.backends), len(said.pulls), len(said.conditions)) == (1, 1, 1)


def test_a_driver_that_hangs_costs_the_figures_and_not_the_heart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, stuck, measured = [0.0], threading.Event(), asyncio.Event()

    async def scenario() -> None:
        heart = heartbeat(tmp_path, now)
        heart.on_sample = measured.set
        task = asyncio.create_task(heart.run())
        await asyncio.wait_for(measured.wait(), 20)
        assert heart.presence().ram
        monkeypatch.setattr(Telemetry, "sample", lambda _: stuck.wait(60))
        now[0] += SAMPLE_S_MAX
        assert heart.presence().ram
        now[0] += 0.1
        assert heart.presence().ram is None
        assert heart.presence().name == "attic"
        stuck.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
