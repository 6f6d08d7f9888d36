"""A list that any replica appends to: in one order everywhere, and what has been cleared stays cleared.

    <space>/begun/<name>/<generation>                        a generation after the first; what `begin` was told
    <space>/items/<name>/<generation>/<turn>-<random>-<nth>  an item
    <space>/parts/<name>/<generation>/...                    of long items, see `Texts`

What is appended in one call is a turn. Its number is one above the highest that its writer knew, so that it stands
behind everything the writer has seen, whatever the clocks say; its items stand side by side. Turns that replicas
append at once have the same number, and chance ranks them, for everybody alike. A row is written once and then at most
removed: nothing here can conflict.

Only the newest generation is read. What a replica writes that has not heard of it lands in an older one, is never
seen, and is removed by the next `begin`. Replicas that begin one at once begin the same.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from propagul.adapters._texts import Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul import AgentStateStore

T = TypeVar("T")
_REMOVED_AT_ONCE: Final = 1000


class End(NamedTuple):
    """How far a timeline has come.

    Attributes:
        generation: The newest one; 0 before anything was begun.
        turn: The highest number of a turn in it.
        place: The place of its last item; empty if it has none.
    """

    generation: int
    turn: int
    place: str


class Entry(NamedTuple, Generic[T]):
    """An item, and the place that `remove` takes."""

    place: str
    item: T


class Timeline(Generic[T]):
    """One such list. Any thread; every call may wait for what the store's writes wait for.

    Args:
        store: Where it is kept.
        space: What the keys of all timelines of a kind begin with.
        name: Which one, as `path` makes it.
        load: Makes an item of its text; one that it raises `ValueError` for is left out.
        rooms: What else stands at `under(room, generation)`, and is removed with the generation.
    """

    def __init__(
        self, store: AgentStateStore, space: str, name: str, load: Callable[[str], T], *, rooms: Sequence[str] = ()
    ) -> None:
        self._store, self._space, self._name, self._load = store, space, name, load
        self._rooms = ("items", "parts", *rooms)

    def generation(self) -> int:
        """The newest generation; 0 before `begin`."""
        begun = self._store.keys(self._under("begun"), reverse=True, limit=1)
        return int(begun[0].rpartition("/")[2], 16) if begun else 0

    def end(self) -> End:
        """Where the next item will stand behind."""
        generation = self.generation()
        items = self.under("items", generation)
        for key in self._store.keys(items, reverse=True, limit=1):
            place = key.removeprefix(items)
            return End(generation, int(place.partition("-")[0], 16), place)
        return End(generation, 0, "")

    def begin(self, told: object = True) -> int:  # noqa: FBT002 - any value will do
        """Begin the next generation, with nothing in it, and return its number."""
        generation = self.mark(told)
        self.sweep()
        return generation

    def mark(self, told: object) -> int:
        """The first half of `begin`: one row."""
        generation = self.generation() + 1
        self._store.set(f"{self._under('begun')}{generation:08x}", told)
        return generation

    def sweep(self) -> None:
        """The second half of `begin`, and never wrong: remove what stands in older generations."""
        generation = self.generation()
        olds = [
            key for key in self._store.keys(self._under("begun")) if key < f"{self._under('begun')}{generation:08x}"
        ]
        for room in self._rooms:
            olds += [key for key in self._store.keys(self._under(room)) if key < self.under(room, generation)]
        for start in range(0, len(olds), _REMOVED_AT_ONCE):
            with self._store.transaction():
                for key in olds[start : start + _REMOVED_AT_ONCE]:
                    self._store.delete(key)

    def under(self, room: str, generation: int) -> str:
        """What the keys of a room begin with."""
        return f"{self._under(room)}{generation:08x}/"

    def append(self, texts: Sequence[str], end: End | None = None) -> str:
        """Append items as one turn, or nothing, and return the place of the last.

        Args:
            texts: One or more.
            end: Behind what; the end of now if None.
        """
        end = end or self.end()
        parts = Texts(self._store, self.under("parts", end.generation))
        held = [parts.stored(text) for text in texts]
        turn = f"{end.turn + 1:012x}-{secrets.token_hex(8)}"
        with self._store.transaction():
            for number, value in enumerate(held):
                self._store.set(f"{self.under('items', end.generation)}{turn}-{number:06x}", value)
        return f"{turn}-{len(texts) - 1:06x}"

    def read(self, limit: int | None = None) -> list[Entry[T]]:
        """Every item, oldest first, or the newest `limit` of them. O(items read)."""
        while True:
            generation = self.generation()
            entries = self._all(generation) if limit is None else self._newest(generation, limit)
            if self.generation() == generation:  # or it was cleared meanwhile, and half removed perhaps
                return entries

    def pop(self) -> T | None:
        """Remove the newest item and return it; None if there is none. O(1).

        Two threads never get the same one. Two replicas that have not heard of each other do, and it is gone once.
        """
        while place := self.end().place:
            item = self.remove(place)
            if item is not None:
                return item
        return None

    def remove(self, place: str) -> T | None:
        """Remove an item of the newest generation and return it; None if it is gone already, or unreadable."""
        generation = self.generation()
        key = f"{self.under('items', generation)}{place}"
        held = self._store.get(key)
        entry = self._entry(generation, key, held)
        if not self._store.delete(key):
            return None
        Texts(self._store, self.under("parts", generation)).drop(held)
        return None if entry is None else entry.item

    def _all(self, generation: int) -> list[Entry[T]]:
        rows = self._store.items(self.under("items", generation))
        return [entry for key, held in rows if (entry := self._entry(generation, key, held)) is not None]

    def _newest(self, generation: int, limit: int) -> list[Entry[T]]:
        window = limit
        while True:
            keys = self._store.keys(self.under("items", generation), reverse=True, limit=window)
            rows = ((key, self._store.get(key)) for key in keys)
            found = [entry for key, held in rows if (entry := self._entry(generation, key, held)) is not None]
            if len(found) >= limit or len(keys) < window:
                return found[:limit][::-1]
            window *= 2  # some could not be read

    def _entry(self, generation: int, key: str, held: object) -> Entry[T] | None:
        text = Texts(self._store, self.under("parts", generation)).text(held)
        try:
            return None if text is None else Entry(key.rpartition("/")[2], self._load(text))
        except ValueError:
            return None

    def _under(self, room: str) -> str:
        return f"{self._space}/{room}/{self._name}/"
