"""What a delta channel is rebuilt from: its last stored value and the writes since, along one line of checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langgraph.checkpoint.base import DeltaChannelHistory

    from propagul_langgraph._saver.checkpoints import Checkpoints
    from propagul_langgraph._saver.keys import Place
    from propagul_langgraph._saver.rows import CheckpointRow, Spot
    from propagul_langgraph._saver.values import Values


def delta_history(
    checkpoints: Checkpoints, values: Values, spot: Spot | None, channels: Sequence[str]
) -> Mapping[str, DeltaChannelHistory]:
    """For each channel the writes since its last stored value, oldest first, and that value as `seed`.

    A value stored at a checkpoint is from before the writes stored at it. Only what is needed is deserialised.
    """
    writes: dict[str, list[tuple[str, str, Any]]] = {channel: [] for channel in channels}
    seeds: dict[str, object] = {}
    for ancestor, row in ancestors(checkpoints, values.place, spot):
        if not (wanted := writes.keys() - seeds.keys()):
            break
        for task_id, write in reversed(checkpoints.writes(values.place, ancestor.id)):
            if write.channel in wanted:
                writes[write.channel].append((task_id, write.channel, values.get(write.ref)))
        for channel in wanted:
            ref = row.channels.get(channel, (0, None))[1]
            if ref is not None:
                seeds[channel] = values.get(ref)
    return {
        channel: {"writes": found[::-1], "seed": seeds[channel]} if channel in seeds else {"writes": found[::-1]}
        for channel, found in writes.items()
    }


def ancestors(checkpoints: Checkpoints, place: Place, spot: Spot | None) -> Iterator[tuple[Spot, CheckpointRow]]:
    """The checkpoints that one goes on from, nearest first."""
    row = checkpoints.threads.row(place, spot) if spot else None
    while row is not None and row.parent is not None:
        parent, row = row.parent, checkpoints.threads.row(place, row.parent)
        if row is not None:
            yield parent, row
