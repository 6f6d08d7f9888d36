"""A node's own voice in the fleet: it says what there is to say when it is due, and at once what people wait for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from fleet_app.presence.demand import Demand
from fleet_app.presence.voice import Voice
from fleet_app.roster import NODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.presence import NodePresence
    from propagul import AgentStateStore

TICK_S: Final = 1.0
"""How often a node looks whether it has something to say, or is watched: whoever flaps in that cannot rush it."""


class Speech:
    """Says what this node has to say. `run` it in one task.

    Args:
        store: The replica.
        presence: All that the node has to say now.
        watchers: How many people look at this node's page.

    Attributes:
        demand: Who watches, anywhere.
    """

    def __init__(
        self, store: AgentStateStore, presence: Callable[[], NodePresence], watchers: Callable[[], int]
    ) -> None:
        self._presence, self._watchers = presence, watchers
        self._voice = Voice(store.presence, row=NODES + store.node)
        self._wake = asyncio.Event()
        self.demand = Demand(store.presence, nodes=NODES, node=store.node, monotonic=time.monotonic)

    def wake(self) -> None:
        """Something has changed that people wait for. In the node's loop."""
        self._wake.set()

    def say(self) -> None:
        """Say what is due now."""
        if self._watchers():
            self.demand.touch()
        self._voice.say(self._presence(), time.monotonic(), watched=self.demand.is_anywhere())

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self.say()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
