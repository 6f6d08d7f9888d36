"""Runs scenarios, each in a directory and an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.scenarios.operations import Scenario, drawn
from tests.scenarios.real import TcpWorld
from tests.scenarios.simulated import SimulatedWorld, no_chance

if TYPE_CHECKING:
    from tests.scenarios.world import World


def play(scenario: Scenario, *, real: bool = False, seed: int = 0) -> World:
    """Run a scenario; return its world as it ended.

    Raises:
        AssertionError: A promise was broken.
    """
    with tempfile.TemporaryDirectory() as scratch, contextlib.nullcontext() if real else no_chance(seed):
        return asyncio.run(_played(scenario, Path(scratch), TcpWorld if real else SimulatedWorld, seed))


async def _played(scenario: Scenario, where: Path, kind: type[TcpWorld | SimulatedWorld], seed: int) -> World:
    world = kind(scenario.nodes, where, seed)
    try:
        await world.run(scenario)
    finally:
        await world.stop()
    return world


def play_seed(seed: int, *, real: bool = False) -> None:
    """Run the scenario of a seed; what fails names the line that replays it."""
    try:
        play(drawn(seed), real=real, seed=seed)
    except Exception as error:
        line = f"replay: python -m tests.scenarios {seed}{' --real' if real else ''}"
        raise AssertionError(f"{type(error).__name__}: {error}\n{line}") from error
