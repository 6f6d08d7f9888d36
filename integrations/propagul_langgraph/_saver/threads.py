"""Which generation of a thread lives, which checkpoints it has, and to which one a write belongs.

A thread that was deleted keeps one row: the generation up to which it is dead, and the largest checkpoint id that was.
Machines that delete it at the same time write the same, or siblings of which the highest counts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul_langgraph._saver.keys import Place, checkpoint_key, part, place_at, seq_and_id
from propagul_langgraph._saver.rows import Spot, pack_checkpoint, unpack_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from propagul_langgraph._saver.own import OwnRows
    from propagul_langgraph._saver.rows import CheckpointRow

_BORN: Final = 8192
_ALIVE: Final = (-1, "")


class _Born(NamedTuple):
    generation: int
    seq: int


class Threads:
    """The checkpoints in a store, by thread, namespace and id.

    Args:
        rows: Where they are.
        root: How all keys of the saver begin.
    """

    def __init__(self, rows: OwnRows, root: str) -> None:
        self._rows, self.root = rows, root
        self._latest: dict[Place, Spot] = {}
        self._latest_as_of = 0
        self._born: OrderedDict[tuple[str, str, str], _Born] = OrderedDict()

    # --- generations ---------------------------------------------------------------------------------------------

    def deleted(self, thread_id: str) -> tuple[int, str]:
        """The generation up to which a thread is dead, -1 if none is, and the largest id in them."""
        return self._dead(self._thread_key(part(thread_id)))

    def bury(self, thread_id: str, generation: int, largest_id: str) -> None:
        """Let a thread be dead up to a generation, whatever arrives of it later."""
        _, before = self.deleted(thread_id)
        self._rows.set(self._thread_key(part(thread_id)), [generation, max(before, largest_id)])

    def buried(self) -> list[str]:
        """Every thread that was ever deleted, as a part of keys."""
        prefix = self._thread_key("")
        return [key[len(prefix) :] for key in self._rows.keys(prefix)]

    def dead_generation(self, thread: str) -> int:
        """The generation up to which a thread, as a part of keys, is dead; -1 if none is."""
        return self._dead(self._thread_key(thread))[0]

    def place(self, thread_id: str, namespace: str = "") -> Place:
        """Where a namespace of the living generation stands."""
        return place_at(self.root, part(thread_id), self.deleted(thread_id)[0] + 1, part(namespace))

    def place_of(
        self, thread_id: str, namespace: str, checkpoint_id: str | None, parents: Mapping[str, str] | None
    ) -> Place | None:
        """Where something that goes on from a checkpoint belongs; None if that is of a dead generation.

        What goes on from nothing (None) is of the living generation. Of a subgraph, `parents` names checkpoints of the
        graphs around it, by namespace: they tell its generation, too.
        """
        dead, largest = self.deleted(thread_id)
        place = place_at(self.root, part(thread_id), dead + 1, part(namespace))
        if dead < 0:
            return place
        around = [(part(name), parent) for name, parent in (parents or {}).items() if name != namespace]
        for name, known in [(place.namespace, checkpoint_id), *around]:
            if not known:
                continue
            born = self._born.get((place.thread, name, known))
            if born is not None and born.generation <= dead:
                return None
            there = place_at(place.root, place.thread, place.generation, name)
            if born is None and known <= largest and not self.find(there, known):
                return None
        return place

    def put(self, place: Place, spot: Spot, row: CheckpointRow) -> None:
        """Write a checkpoint's row."""
        self._rows.set(checkpoint_key(place, *spot), pack_checkpoint(row))
        latest = self._latest.get(place)
        if latest is not None and spot > latest:
            self._latest[place] = spot
        self.remember(place, spot)

    def remove(self, place: Place, spots: Sequence[Spot]) -> None:
        """Remove checkpoints, and what was written to them."""
        writes = [key for spot in spots for key in self._rows.keys(place.writes(spot.id))]
        self._rows.remove([*(checkpoint_key(place, *spot) for spot in spots), *writes])
        self._latest.clear()

    def remember(self, place: Place, spot: Spot) -> None:
        """Know where a checkpoint stands, dead or alive, without looking for it."""
        key = (place.thread, place.namespace, spot.id)
        self._born[key] = _Born(place.generation, spot.seq)
        self._born.move_to_end(key)
        if len(self._born) > _BORN:
            self._born.popitem(last=False)

    def remember_dead(self, thread_id: str, namespace: str, checkpoint_id: str) -> None:
        """Know that a checkpoint was not stored because its thread had been deleted: what goes on from it is not."""
        live = self.place(thread_id, namespace)
        dead = place_at(live.root, live.thread, live.generation - 1, live.namespace)
        self.remember(dead, Spot(0, checkpoint_id))

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def spots(self, place: Place) -> list[Spot]:
        """Every checkpoint of a place, the latest first. O(their number)."""
        found = [seq_and_id(place, key) for key in self._rows.keys(place.checkpoints, reverse=True)]
        return list(
            {checkpoint_id: Spot(seq, checkpoint_id) for seq, checkpoint_id in reversed(found) if seq}.values()
        )[::-1]

    def latest(self, place: Place) -> Spot | None:
        """The newest checkpoint: no other one is a successor of it."""
        if self._latest_as_of != (others := self._rows.others) or len(self._latest) > _BORN:
            self._latest.clear()
            self._latest_as_of = others
        if (spot := self._latest.get(place)) is None:
            keys = self._rows.keys(place.checkpoints, reverse=True, limit=1)
            spot = Spot(*seq_and_id(place, keys[0])) if keys else None
            if spot is not None:
                self._latest[place] = spot
        return spot

    def find(self, place: Place, checkpoint_id: str) -> Spot | None:
        """Where a checkpoint stands; None if it is not here. O(checkpoints of the place) if it was not met before."""
        born = self._born.get((place.thread, place.namespace, checkpoint_id))
        if born is not None and born.generation == place.generation:
            spot = Spot(born.seq, checkpoint_id)
            return spot if self.row(place, spot) is not None else None
        return next((spot for spot in self.spots(place) if spot.id == checkpoint_id), None)

    def row(self, place: Place, spot: Spot) -> CheckpointRow | None:
        """The row of a checkpoint; None if it is not here.

        Raises:
            StoreCorrupt: This version cannot read it.
        """
        key = checkpoint_key(place, *spot)
        value = self._rows.get(key)
        return None if value is None else unpack_checkpoint(key, value)

    def descends(self, place: Place, spot: Spot, ancestor: Spot) -> bool:
        """Whether a checkpoint goes on, at whatever distance, from another one."""
        at: Spot | None = spot
        while at is not None and at.seq > ancestor.seq:
            row = self.row(place, at)
            at = None if row is None else row.parent
        return at == ancestor

    def heads(self, place: Place) -> list[Spot]:
        """Checkpoints that no other one goes on from or replaces, the default first. O(checkpoints)."""
        spots = self.spots(place)
        rows = [row for row in (self.row(place, spot) for spot in spots) if row is not None]
        passed = {spot for row in rows for spot in (row.parent, *row.over) if spot is not None}
        return [spot for spot in spots if spot not in passed]

    def places(self, thread_id: str | None = None) -> Iterator[tuple[Place, str, str]]:
        """Every living place with a checkpoint, of one thread or of all, and the names of thread and namespace."""
        prefix = f"{self.root}c/" if thread_id is None else f"{self.place(thread_id).checkpoints[:-1]}"
        last: tuple[str, ...] | None = None
        for key in self._rows.keys(prefix):
            thread, generation, namespace, _ = key[len(self.root) + 2 :].split("/", 3)
            if (thread, generation, namespace) == last:
                continue
            last = (thread, generation, namespace)
            place = place_at(self.root, thread, int(generation, 16), namespace)
            names = self._names(place, key)
            if place.generation == self.deleted(names[0])[0] + 1:
                yield place, *names

    def _names(self, place: Place, key: str) -> tuple[str, str]:
        row = unpack_checkpoint(key, self._rows.get(key))
        return row.names or (place.thread, place.namespace)

    def _dead(self, key: str) -> tuple[int, str]:
        if not (siblings := self._rows.siblings(key)):
            return _ALIVE
        found = [_dead(sibling) for sibling in siblings]
        return max(generation for generation, _ in found), max(largest for _, largest in found)

    def _thread_key(self, thread: str) -> str:
        return f"{self.root}t/{thread}"


def names_of(thread_id: str, namespace: str) -> tuple[str, str] | None:
    """What a row must say of its names, as its key does not."""
    is_said = part(thread_id) == thread_id and part(namespace) == namespace
    return None if is_said else (thread_id, namespace)


def _dead(value: object) -> tuple[int, str]:
    match value:
        case [int(generation), str(largest)]:
            return generation, largest
    return _ALIVE
