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

TICK_S: Final = 0.5
"""How often a node looks whether it has something to say, or is watched."""


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
        self._store, self._presence, self._watchers = store, presence, watchers
        own = NODES + store.node
        self._voice = Voice(store.presence, row=own)
        self.demand = Demand(
            store.presence,
            row=f"{own}/",
            others=lambda: [f"{NODES}{node}/" for node in self._others],
            monotonic=time.monotonic,
        )
        self._others: frozenset[str] = frozenset()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something has changed that people wait for. In the node's loop."""
        self._wake.set()

    def say(self) -> None:
        """Say what is due now."""
        if self._watchers():
            self.demand.touch()
        others = frozenset(self._store.linked()) | frozenset(member.node for member in self._store.members())
        is_new = bool(others - self._others)  # who is new here has no beat of ours yet, or an old one
        self._others = others
        watched = self.demand.is_anywhere()
        self._voice.say(self._presence(), time.monotonic(), watched=watched, at_once=is_new)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self.say()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
