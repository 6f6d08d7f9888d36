"""Loads over a few seconds: one second of a processor or a GPU is noise, and a beat for each jump of it is a waste.

What is averaged is the load of the processor and of each GPU, over as long as lies between two beats. Pure.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet_app.presence.shape import NodePresence

_CPU = -1
"""The processor's place among the GPUs."""


class Loads:
    """The loads of the last seconds."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, dict[int, float]]] = deque(maxlen=120)

    def averaged(self, said: NodePresence, now: float, over_s: float) -> NodePresence:
        """Count what a node says now, and return it with loads over so many seconds."""
        loads = {gpu.index: gpu.percent for gpu in said.gpus if gpu.percent is not None}
        if said.cpu is not None:
            loads[_CPU] = said.cpu.percent
        self._recent.append((now, loads))
        while now - self._recent[0][0] > over_s:
            self._recent.popleft()
        cpu = None if said.cpu is None else said.cpu.model_copy(update={"percent": self._mean(_CPU)})
        gpus = [
            gpu if gpu.percent is None else gpu.model_copy(update={"percent": self._mean(gpu.index)})
            for gpu in said.gpus
        ]
        return said.model_copy(update={"cpu": cpu, "gpus": tuple(gpus)})

    def _mean(self, which: int) -> float:
        found = [loads[which] for _, loads in self._recent if which in loads]
        return sum(found) / len(found)
