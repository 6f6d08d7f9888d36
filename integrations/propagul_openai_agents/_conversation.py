"""The rows of one session: items in one order everywhere, and what has been cleared stays cleared.

    openai-agents/<session>/items/<generation>                                 it was cleared, and begins here anew
    openai-agents/<session>/items/<generation>/<turn>-<random>-<place>         an item: its JSON, or how many parts
    openai-agents/<session>/parts/<generation>/<turn>-<random>-<place>/<part>  a part of the JSON of a large item

What is added in one call is a turn: its number is one above the highest its writer knew, so that it stands behind
everything the writer has seen, whatever the clocks say, and its items stand side by side. Turns that several replicas
add at once have the same number; chance ranks them, for everybody alike. A row is written once and then at most
removed, so nothing here can conflict.

Clearing begins the next generation, and only the newest is read: a late write of a replica that had not heard of it
lands in an old one. Two that clear at once begin the same one. As both numbers are part of the key, the last key under
`items/` tells both.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul import AgentStateStore

_PART_CHARS: Final = 128 * 1024
"""Of an item's text in one row; at most half a MiB in UTF-8, which a store's default limits allow."""
_REMOVED_AT_ONCE: Final = 1000


class _End(NamedTuple):
    """How far a session has come: its generation, and the highest number of a turn in it."""

    generation: int
    turn: int


class Conversation:
    """What is stored of one session. Any thread; everything here may wait for what the store's writes wait for."""

    def __init__(self, store: AgentStateStore, session_id: str) -> None:
        root = f"openai-agents/{quote(session_id, safe='')}"
        self._store, self._items, self._parts = store, f"{root}/items/", f"{root}/parts/"

    def add(self, items: Sequence[object]) -> None:
        """Append items as one turn, or nothing.

        Raises:
            TypeError, ValueError: One is not JSON.
        """
        texts = [_dumps(item) for item in items]
        end = self._end()
        turn = f"{end.generation:08x}/{end.turn + 1:012x}-{secrets.token_hex(8)}"
        rows = [(place := f"{turn}-{number:06x}", self._stored(place, text)) for number, text in enumerate(texts)]
        with self._store.transaction():
            for place, value in rows:
                self._store.set(self._items + place, value)

    def read(self) -> list[object]:
        """Every item, oldest first. O(items)."""
        while True:
            end = self._end()
            rows = list(self._store.items(f"{self._items}{end.generation:08x}/"))
            if self._end().generation == end.generation:  # or it was cleared meanwhile, and half removed perhaps
                return [item for key, value in rows if (item := self._read(key, value)) is not None]

    def last(self, limit: int) -> list[object]:
        """The newest `limit` items, the oldest of them first. O(limit)."""
        under, window = f"{self._items}{self._end().generation:08x}/", limit
        while True:
            keys = self._store.keys(under, reverse=True, limit=window)
            items = [item for key in keys if (item := self._read(key, self._store.get(key))) is not None]
            if len(items) >= limit or len(keys) < window:
                return items[:limit][::-1]
            window *= 2  # some could not be read

    def pop(self) -> object:
        """Remove the newest item and return it; None if there is none. O(1).

        Two threads never get the same one. Two replicas that have not heard of each other do, and it is gone once.
        """
        while keys := self._store.keys(f"{self._items}{self._end().generation:08x}/", reverse=True, limit=1):
            item = self._read(keys[0], self._store.get(keys[0]))
            if self._remove(keys[0]) and item is not None:
                return item
        return None

    def clear(self) -> None:
        """Begin anew."""
        begun = f"{self._items}{self._end().generation + 1:08x}"
        self._store.set(begun, True)
        old = [key for key in self._store.keys(self._items) if key < begun]
        old += [key for key in self._store.keys(self._parts) if key < self._parts + begun.removeprefix(self._items)]
        for start in range(0, len(old), _REMOVED_AT_ONCE):
            with self._store.transaction():
                for key in old[start : start + _REMOVED_AT_ONCE]:
                    self._store.delete(key)

    def _end(self) -> _End:
        for key in self._store.keys(self._items, reverse=True, limit=1):
            generation, _, turn = key.removeprefix(self._items).partition("/")
            return _End(int(generation, 16), int(turn.partition("-")[0] or "0", 16))
        return _End(0, 0)

    def _stored(self, place: str, text: str) -> str | int:
        """What the row of an item holds; its parts, if it is a large one, are written before."""
        if len(text) <= _PART_CHARS:
            return text
        parts = [text[start : start + _PART_CHARS] for start in range(0, len(text), _PART_CHARS)]
        for number, part in enumerate(parts):
            self._store.set(self._part(place, number), part)
        return len(parts)

    def _part(self, place: str, number: int) -> str:
        return f"{self._parts}{place}/{number:06x}"

    def _read(self, key: str, value: object) -> object:
        """The item in a row; None if it cannot be read, or was removed just now."""
        if type(value) is int:
            place = key.removeprefix(self._items)
            parts = [self._store.get(self._part(place, number)) for number in range(value)]
            value = "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None
        try:
            return json.loads(value) if isinstance(value, str) else None
        except ValueError:
            return None

    def _remove(self, key: str) -> bool:
        """Remove an item's row and its parts; False if another thread did."""
        if not self._store.delete(key):
            return False
        place = key.removeprefix(self._items)
        for part in self._store.keys(f"{self._parts}{place}/"):
            self._store.delete(part)
        return True


def _dumps(item: object) -> str:
    text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and UTF-8 cannot
        return json.dumps(item, separators=(",", ":"))
    return text
