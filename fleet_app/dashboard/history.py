"""The last samples of every node, so that a page opened now shows the minutes before.

One slot every sampling step for all nodes together; a slot without a fresh heartbeat is None and is drawn as a gap. A
value is never carried over silence: a flat line would look like a measurement and be none. Memory is bounded by
`SAMPLES_MAX` floats a series, and a node that left the fleet takes its series with it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.presence import NodePresence, Usage
    from fleet_app.view import FleetView, NodeView

SAMPLES_MAX = 60
"""Slots kept of each series."""

FRESH_S = 5.0
"""A heartbeat older than this makes no sample; they come every two seconds."""

Tail: TypeAlias = "dict[str, dict[str, list[float | None]]]"
"""Newest samples by node id and series name; all lists have one length."""


class History:
    """Percentages by series: `cpu`, `ram`, and for the GPU with index i its load `gpu<i>` and memory `vram<i>`."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, deque[float | None]]] = {}
        self.taken = 0
        """Slots ever taken. Rises by one a sample; the newest slot has this number."""

    def sample(self, view: FleetView) -> None:
        """Take one slot for every node of the view and forget nodes that are not in it."""
        self.taken += 1
        self._nodes = {node.id: _extend(self._nodes.get(node.id, {}), _measure(node)) for node in view.nodes}

    def tail(self, slots: int) -> Tail:
        """The newest `slots` samples of every series, oldest first; what was not known is None."""
        start = SAMPLES_MAX - slots
        return {
            node: {name: list(kept)[start:] for name, kept in series.items()} for node, series in self._nodes.items()
        }


def _extend(
    series: Mapping[str, deque[float | None]], measured: Mapping[str, float | None]
) -> dict[str, deque[float | None]]:
    """Append one slot to every series, open new ones, and drop those that have become nothing but gaps."""
    for name in series.keys() | measured.keys():
        kept = series.get(name) or deque([None] * SAMPLES_MAX, SAMPLES_MAX)
        kept.append(measured.get(name))
        series = {**series, name: kept}
    return {name: kept for name, kept in series.items() if name in measured or any(v is not None for v in kept)}


def _measure(node: NodeView) -> dict[str, float | None]:
    """This slot's values; empty where the node was not heard of lately."""
    if node.presence is None or node.state == "down":
        return {}
    if node.heard_s is not None and node.heard_s > FRESH_S:
        return {}
    return _percentages(node.presence)


def _percentages(said: NodePresence) -> dict[str, float | None]:
    """What one heartbeat says, in percent, to one decimal; None where the box cannot tell."""
    return {
        "cpu": None if said.cpu is None else round(said.cpu.percent, 1),
        "ram": _share(said.ram),
        **{f"gpu{gpu.index}": None if gpu.percent is None else round(gpu.percent, 1) for gpu in said.gpus},
        **{f"vram{gpu.index}": _share(gpu.vram) for gpu in said.gpus},
    }


def _share(usage: Usage | None) -> float | None:
    """Used out of total in percent; None for an empty or unknown total."""
    if usage is None or usage.total_bytes == 0:
        return None
    return round(100 * min(1.0, usage.used_bytes / usage.total_bytes), 1)
