"""Deleting, pruning and copying threads.

Order matters here, for any of it may end half-way: a thread is dead before its rows go, and a copy has its content
before the checkpoints that refer to it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from propagul_langgraph._saver.checkpoints import rest_of
from propagul_langgraph._saver.content import content_name
from propagul_langgraph._saver.history import ancestors
from propagul_langgraph._saver.keys import part
from propagul_langgraph._saver.lists import mark
from propagul_langgraph._saver.threads import names_of
from propagul_langgraph._saver.values import Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langgraph.checkpoint.serde.base import SerializerProtocol

    from propagul_langgraph._saver.checkpoints import Checkpoints
    from propagul_langgraph._saver.keys import Place
    from propagul_langgraph._saver.rows import Spot

STRATEGIES: Final = ("keep_latest", "delete")


class Removal:
    """Removes threads, or parts of them.

    Args:
        checkpoints: Where they are.
        grace_s: How long content stays after it was first found unreferenced.
    """

    def __init__(self, checkpoints: Checkpoints, grace_s: float) -> None:
        self._checkpoints, self._threads, self._rows = checkpoints, checkpoints.threads, checkpoints.rows
        self._grace_s = grace_s

    def delete(self, thread_id: str) -> None:
        """Let a thread be dead, and remove its rows. Works for one that has not arrived here yet."""
        with self._checkpoints.lock:
            place = self._threads.place(thread_id)
            ids = [spot.id for found, *_ in self._threads.places(thread_id) for spot in self._threads.spots(found)]
            self._threads.bury(thread_id, place.generation, max(ids, default=""))
            self._sweep_dead(part(thread_id))
            self._checkpoints.forget(place)

    def sweep_late(self) -> None:
        """Remove what has arrived of threads that were dead already. O(threads that were ever deleted)."""
        for thread in self._threads.buried():
            with self._checkpoints.lock:
                self._sweep_dead(thread)

    def _sweep_dead(self, thread: str) -> None:
        """Remove the rows of dead generations that are here."""
        for generation in range(self._threads.dead_generation(thread) + 1):
            at = f"{thread}/{generation:x}"
            self._rows.remove([key for kind in "cwe" for key in self._rows.keys(f"{self._threads.root}{kind}/{at}/")])
            self._rows.remove([f"{self._threads.root}g/{at}"])

    def delete_for_runs(self, serde: SerializerProtocol, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints of runs, and what was written to them."""
        wanted = set(run_ids)
        for place, *_ in list(self._threads.places()) if wanted else []:
            with self._checkpoints.lock:
                self._drop(
                    place, [spot for spot in self._threads.spots(place) if self._run(serde, place, spot) in wanted]
                )

    def copy(self, source_id: str, target_id: str) -> None:
        """Copy a thread: content, writes, checkpoints, each before what refers to it."""
        for place, _, namespace in list(self._threads.places(source_id) if source_id != target_id else []):
            with self._checkpoints.lock:
                target = self._threads.place(target_id, namespace)
                self._copy_under(place.content, target.content)
                spots = self._threads.spots(place)
                for spot in spots:
                    self._copy_under(place.writes(spot.id), target.writes(spot.id))
                for spot in reversed(spots):
                    row = self._threads.row(place, spot)
                    if row is not None:
                        row = row._replace(names=names_of(target_id, namespace))
                        self._threads.put(target, spot, row)

    def prune(self, serde: SerializerProtocol, thread_ids: Sequence[str], strategy: str) -> None:
        """Delete threads, or all of them but their heads and what delta channels of those need.

        Raises:
            ValueError: There is no such strategy.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"a strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}")
        for thread_id in dict.fromkeys(thread_ids):
            if strategy == "delete":
                self.delete(thread_id)
            else:
                self._keep_latest(serde, thread_id)
                self._sweep_dead(part(thread_id))

    # --- inside --------------------------------------------------------------------------------------------------

    def _keep_latest(self, serde: SerializerProtocol, thread_id: str) -> None:
        with self._checkpoints.lock:
            places = [place for place, *_ in self._threads.places(thread_id)]
            for place in places:
                heads = self._threads.heads(place)
                kept = {*heads, *(spot for head in heads for spot in self._needed(serde, place, head))}
                self._drop(place, [spot for spot in self._threads.spots(place) if spot not in kept])
            if places:
                self._sweep(self._threads.place(thread_id), places)

    def _needed(self, serde: SerializerProtocol, place: Place, head: Spot) -> Iterator[Spot]:
        """The ancestors from whose writes and values delta channels of a checkpoint are rebuilt."""
        if (row := self._threads.row(place, head)) is None:
            return
        _, metadata = rest_of(Values(self._checkpoints.content, place, serde), row)
        counted = metadata.get("counters_since_delta_snapshot") or {}
        open_channels = {name for name in counted if row.channels.get(name, (0, None))[1] is None}
        for spot, ancestor in ancestors(self._checkpoints, place, head):
            if not open_channels:
                return
            yield spot
            open_channels -= {name for name in open_channels if ancestor.channels.get(name, (0, None))[1] is not None}

    def _run(self, serde: SerializerProtocol, place: Place, spot: Spot) -> object:
        row = self._threads.row(place, spot)
        if row is None:
            return None
        _, metadata = rest_of(Values(self._checkpoints.content, place, serde), row)
        return metadata.get("run_id")

    def _drop(self, place: Place, spots: Sequence[Spot]) -> None:
        self._threads.remove(place, spots)
        if spots:
            self._checkpoints.forget(place)

    def _sweep(self, place: Place, places: Sequence[Place]) -> None:
        """Remove content that has long been unreferenced, and note what is now."""
        used = self._used(places)
        key = f"{self._threads.root}g/{place.thread}/{place.generation:x}"
        since, now = self._noted(key), int(time.time())
        idle = {name: min(since.get(name, now), now) for name in self._content_names(place) if name not in used}
        due = [name for name, noted in idle.items() if noted + self._grace_s <= now]
        self._rows.remove([place.content + name for name in due])
        if due:
            self._checkpoints.forget(place)
        left = {name: noted for name, noted in idle.items() if name not in due}
        if left != since:
            self._rows.set(key, left)

    def _content_names(self, place: Place) -> list[str]:
        return [key[len(place.content) :] for key in self._rows.keys(place.content)]

    def _noted(self, key: str) -> dict[str, int]:
        """Since when content is unreferenced, as far as anybody has noted, in seconds since the epoch."""
        noted: dict[str, int] = {}
        for sibling in self._rows.siblings(key):
            for name, since in sibling.items() if type(sibling) is dict else ():
                if type(name) is str and type(since) is int:
                    noted[name] = min(since, noted.get(name, since))
        return noted

    def _used(self, places: Sequence[Place]) -> set[str]:
        """Names of all content that checkpoints and writes of these places refer to."""
        used: set[bytes] = set()
        for place in places:
            for spot in self._threads.spots(place):
                row = self._threads.row(place, spot)
                refs = [] if row is None else [row.rest, *(ref for _, ref in row.channels.values())]
                refs += [
                    write.ref for task in self._checkpoints.tasks(place, spot.id) for write in task.writes.values()
                ]
                mark(self._checkpoints.content, place, refs, used)
        return set(map(content_name, used))

    def _copy_under(self, source: str, target: str) -> None:
        for key in self._rows.keys(source):
            value = self._rows.get(key)
            if value is not None:
                self._rows.set(target + key[len(source) :], value)
