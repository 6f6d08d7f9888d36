"""Listing checkpoints: which of them, and in which order."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import get_checkpoint_id

from propagul_langgraph._saver.checkpoints import ThreadName, rest_of
from propagul_langgraph._saver.values import Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from propagul_langgraph._saver.checkpoints import Checkpoints
    from propagul_langgraph._saver.keys import Place
    from propagul_langgraph._saver.rows import Spot

    Found = tuple[Place, ThreadName, Spot]


class Listing:
    """Reads the checkpoints of one thread or all."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints, self._threads = checkpoints, checkpoints.threads

    def checkpoints(
        self,
        serde: SerializerProtocol,
        config: RunnableConfig | None,
        wanted: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints that a config covers and whose metadata has all that is wanted, newest first.

        Within a namespace newest is as `get_tuple` has it; those of several are ordered by id.
        """
        left = limit
        for place, name, spot in self._chosen(config, before):
            if left is not None and left <= 0:
                return
            row = self._threads.row(place, spot)
            if row is None:
                continue  # it was removed meanwhile
            values = Values(self._checkpoints.content, place, serde)
            _, metadata = rest_of(values, row)
            if any(metadata.get(name) != value for name, value in (wanted or {}).items()):
                continue
            left = None if left is None else left - 1
            yield self._checkpoints.made(values, name, spot, row)

    def _chosen(self, config: RunnableConfig | None, before: RunnableConfig | None) -> Iterator[Found]:
        configurable = config["configurable"] if config else {}
        thread_id, namespace = configurable.get("thread_id"), configurable.get("checkpoint_ns")
        before_id = get_checkpoint_id(before) if before else None
        only = get_checkpoint_id(config) if config else None
        columns = [
            self._column(place, ThreadName(*names), only, before_id)
            for place, *names in self._threads.places(None if thread_id is None else str(thread_id))
            if namespace is None or names[1] == namespace
        ]
        return merge(*columns, key=lambda found: found[2].id, reverse=True)

    def _column(self, place: Place, name: ThreadName, only: str | None, before_id: str | None) -> list[Found]:
        spots = self._threads.spots(place)
        if before_id is not None:
            bound = next((spot for spot in spots if spot.id == before_id), None)
            spots = [spot for spot in spots if (spot < bound if bound is not None else spot.id < before_id)]
        return [(place, name, spot) for spot in spots if only is None or spot.id == only]
