"""Items as rows: one row an item, under its namespace and key, readable for people.

    {"value": {...}, "created": a time, "updated": a time}

and only where there is reason: "ttl" in minutes, "vectors", which of its vectors belong to it (see `_vectors`), and
"names", its labels and its key, where the store's key holds a hash of one. Rows come from other machines: what is no
item is refused by name where it was asked for, and left out of lists. Fields of later versions are passed over.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.store.base import Item, SearchItem

from propagul import LimitExceeded, StoreCorrupt
from propagul_langgraph._store_keys import is_hashed, names_in, path_of, prefix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul import AgentStateStore

    Get = Callable[[str], object]

_log = logging.getLogger("propagul.langgraph")


class ItemRow(NamedTuple):
    """What is stored of an item.

    Attributes:
        value: What the user put.
        created, updated: When it was first put, and last.
        ttl: How many minutes it lives after it was last used; None for ever.
        vectors: Which vectors were made of this value; empty if none were.
    """

    value: dict[str, Any]
    created: dt.datetime
    updated: dt.datetime
    ttl: float | None = None
    vectors: str = ""


class Stored(NamedTuple):
    """An item with its names, and with its path: the part of its keys that all its rows share."""

    path: str
    namespace: tuple[str, ...]
    key: str
    row: ItemRow

    def item(self) -> Item:
        """As LangGraph calls it."""
        return Item(
            value=self.row.value,
            key=self.key,
            namespace=self.namespace,
            created_at=self.row.created,
            updated_at=self.row.updated,
        )

    def search_item(self, score: float | None) -> SearchItem:
        """The same, as the result of a search."""
        return SearchItem(self.namespace, self.key, self.row.value, self.row.created, self.row.updated, score)


class Items:
    """The rows of all items of a store.

    Args:
        store: Where they are.
        root: How all keys begin.
    """

    def __init__(self, store: AgentStateStore, root: str) -> None:
        self._store, self._prefix = store, f"{root}i/"

    def key_of(self, path: str) -> str:
        """The key of an item's row."""
        return self._prefix + path

    def at(self, path: str, get: Get) -> Stored | None:
        """The item at a path; None if there is none, or none that can be read.

        Args:
            path: See `Stored`.
            get: Gives the value of a key.
        """
        return self._listed(path, get(self._prefix + path))

    def named(self, namespace: tuple[str, ...], key: str, get: Get) -> Stored | None:
        """The item of a name.

        Raises:
            StoreCorrupt: What is there is no item that this version can read.
        """
        path = path_of(namespace, key)
        if (value := get(self._prefix + path)) is None:
            return None
        if (row := _row(value)) is None:
            raise StoreCorrupt(f"what is stored under {self._prefix + path!r} is no item that this version can read")
        return Stored(path, namespace, key, row)

    def under(self, namespace: tuple[str, ...]) -> Iterator[Stored]:
        """Every item of a namespace and of those below it. O(found)."""
        for key, value in self._store.items(self._prefix + prefix_of(namespace)):
            if (found := self._listed(key.removeprefix(self._prefix), value)) is not None:
                yield found

    def paths_under(self, namespace: tuple[str, ...]) -> list[str]:
        """Their paths, sorted. O(found)."""
        skip = len(self._prefix)
        return [key[skip:] for key in self._store.keys(self._prefix + prefix_of(namespace))]

    def conflicts(self, namespace: tuple[str, ...], key: str) -> list[Item]:
        """What was put concurrently under one name, newest first; empty without a conflict."""
        path = path_of(namespace, key)
        rows = map(_row, self._store.get_conflicts(self._prefix + path))
        return [Stored(path, namespace, key, row).item() for row in rows if row is not None]

    def put(self, path: str, namespace: tuple[str, ...], key: str, row: ItemRow) -> None:
        """Write an item's row.

        Raises:
            TypeError, ValueError, LimitExceeded: Its value cannot be stored; the message says what in it, and why.
        """
        packed: dict[str, object] = {"value": row.value, "created": row.created, "updated": row.updated}
        if row.ttl is not None:
            packed["ttl"] = row.ttl
        if row.vectors:
            packed["vectors"] = row.vectors
        if is_hashed(path):
            packed["names"] = [list(namespace), key]
        self._store.set(self._prefix + path, packed)

    def _listed(self, path: str, value: object) -> Stored | None:
        """An item, if that is what a row holds; what is none is logged."""
        if value is None:
            return None
        if (row := _row(value)) is not None and (names := _names(path, value)) is not None:
            return Stored(path, *names, row)
        _log.warning("store.item_unreadable key=%r", self._prefix + path)
        return None


def _row(value: object) -> ItemRow | None:
    match value:
        case {"value": dict(held), "created": dt.datetime() as created, "updated": dt.datetime() as updated, **more}:
            ttl, vectors = more.get("ttl"), more.get("vectors", "")
            if (ttl is None or type(ttl) is int or type(ttl) is float) and type(vectors) is str:
                return ItemRow(held, created, updated, ttl, vectors)
    return None


def _names(path: str, value: object) -> tuple[tuple[str, ...], str] | None:
    if not is_hashed(path):
        return names_in(path)
    match value:
        case {"names": [list(labels), str(key)]} if all(type(label) is str for label in labels):
            try:
                return (tuple(labels), key) if path_of(labels, key) == path else None
            except LimitExceeded:
                return None
    return None
