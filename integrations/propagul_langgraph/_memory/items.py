"""Items as rows: one row an item, under its namespace and key, readable for people.

    {"value": {...}, "created": a time, "updated": a time}

and only where there is reason: "ttl" in minutes, "vectors", which of its vectors belong to it (see `vectors`), and
"names", its labels and its key, where the store's key holds a hash of one. Rows come from other machines: what is no
item is refused by name where it was asked for, and left out of lists. Fields of later versions are passed over.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.store.base import Item, SearchItem

from propagul import LimitExceeded, StoreCorrupt
from propagul_langgraph._memory.keys import is_hashed, name_in, path_of, prefix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul import AgentStateStore
    from propagul_langgraph._memory.keys import Name

    Get = Callable[[str], object]

_log = logging.getLogger("propagul.langgraph")


class Stored(NamedTuple):
    """An item.

    Attributes:
        path: The part of its keys that all its rows share.
        value: What the user put.
        created, updated: When it was first put, and last.
        ttl: How many minutes it lives after it was last used; None for ever.
        vectors: Which vectors were made of this value; empty if none were.
        hidden: Its namespace and key, where the path does not say them.
    """

    path: str
    value: dict[str, Any]
    created: dt.datetime
    updated: dt.datetime
    ttl: float | None = None
    vectors: str = ""
    hidden: Name | None = None

    @property
    def name(self) -> Name:
        """Its namespace, and its key in it."""
        return self.hidden or name_in(self.path)

    def item(self) -> Item:
        """As LangGraph calls it."""
        namespace, key = self.name
        return Item(value=self.value, key=key, namespace=namespace, created_at=self.created, updated_at=self.updated)

    def search_item(self, score: float | None) -> SearchItem:
        """The same, as the result of a search."""
        return SearchItem(*self.name, self.value, self.created, self.updated, score)


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

    def named(self, name: Name, get: Get) -> Stored | None:
        """The item of a name.

        Raises:
            StoreCorrupt: What is there is no item that this version can read.
        """
        path = path_of(*name)
        if (value := get(self._prefix + path)) is None:
            return None
        if (item := _read(path, value, name)) is None:
            raise StoreCorrupt(f"what is stored under {self._prefix + path!r} is no item that this version can read")
        return item

    def under(self, namespace: tuple[str, ...]) -> Iterator[Stored]:
        """Every item of a namespace and of those below it, in the order of their paths. O(found)."""
        skip = len(self._prefix)
        for key, value in self._store.items(self._prefix + prefix_of(namespace)):
            if (item := self._listed(key[skip:], value)) is not None:
                yield item

    def paths_under(self, namespace: tuple[str, ...]) -> list[str]:
        """Their paths, sorted. O(found)."""
        skip = len(self._prefix)
        return [key[skip:] for key in self._store.keys(self._prefix + prefix_of(namespace))]

    def conflicts(self, name: Name) -> list[Item]:
        """What was put concurrently under one name, newest first; empty without a conflict."""
        path = path_of(*name)
        found = [_read(path, value, name) for value in self._store.get_conflicts(self._prefix + path)]
        return [item.item() for item in found if item is not None]

    def put(self, item: Stored) -> None:
        """Write an item's row.

        Raises:
            TypeError, ValueError, LimitExceeded: Its value cannot be stored; the message says what in it, and why.
        """
        packed: dict[str, object] = {"value": item.value, "created": item.created, "updated": item.updated}
        if item.ttl is not None:
            packed["ttl"] = item.ttl
        if item.vectors:
            packed["vectors"] = item.vectors
        if item.hidden is not None and is_hashed(item.path):
            namespace, key = item.hidden
            packed["names"] = [list(namespace), key]
        self._store.set(self._prefix + item.path, packed)

    def _listed(self, path: str, value: object) -> Stored | None:
        """An item, if that is what a row holds; what is none is logged."""
        if value is None:
            return None
        hidden = _hidden(path, value) if is_hashed(path) else None
        item = _read(path, value, hidden)
        if item is not None and (hidden is not None or not is_hashed(path)):
            return item
        _log.warning("store.item_unreadable key=%r", self._prefix + path)
        return None


def _read(path: str, value: object, name: Name | None) -> Stored | None:
    if type(value) is not dict:
        return None
    held, created, updated = value.get("value"), value.get("created"), value.get("updated")
    ttl, vectors = value.get("ttl"), value.get("vectors", "")
    if type(held) is not dict or type(created) is not dt.datetime or type(updated) is not dt.datetime:
        return None
    if (ttl is not None and type(ttl) not in (int, float)) or type(vectors) is not str:
        return None
    return Stored(path, held, created, updated, ttl, vectors, name)


def _hidden(path: str, value: object) -> Name | None:
    """The name that a row says it has, if its path agrees."""
    match value:
        case {"names": [list(labels), str(key)]} if all(type(label) is str for label in labels):
            try:
                return (tuple(labels), key) if path_of(labels, key) == path else None
            except LimitExceeded:
                return None
    return None
