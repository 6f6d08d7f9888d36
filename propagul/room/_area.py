"""Keys under a prefix, as if they were all there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul.store import AgentStateStore

NAME_CHARS_MAX = 100
"""How long the name of a room, agent or queue may be."""


def checked_name(what: str, name: str) -> str:
    """A name that can be a part of a key.

    Raises:
        ValueError: It is empty, too long, or holds a slash or a control character.
    """
    if not name or len(name) > NAME_CHARS_MAX or "/" in name or not name.isprintable():
        raise ValueError(f"{what} is 1 to {NAME_CHARS_MAX} printable characters without a slash, not {name[:40]!r}")
    return name


class View:
    """What stands under a prefix of a store, to be read. Keys are those behind the prefix."""

    def __init__(self, store: AgentStateStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def get(self, key: str, default: object = None) -> object:
        """See `AgentStateStore.get`."""
        return self._store.get(self._prefix + key, default)

    def keys(self, prefix: str = "", *, reverse: bool = False, limit: int | None = None) -> list[str]:
        """See `AgentStateStore.keys`."""
        found = self._store.keys(self._prefix + prefix, reverse=reverse, limit=limit)
        return [key.removeprefix(self._prefix) for key in found]

    def items(self, prefix: str = "") -> Iterator[tuple[str, object]]:
        """See `AgentStateStore.items`."""
        found = self._store.items(self._prefix + prefix)
        return ((key.removeprefix(self._prefix), value) for key, value in found)

    def get_conflicts(self, key: str) -> list[object]:
        """See `AgentStateStore.get_conflicts`."""
        return self._store.get_conflicts(self._prefix + key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._prefix + key in self._store


class Area(View):
    """The same, to be written too."""

    def set(self, key: str, value: object) -> None:
        """See `AgentStateStore.set`."""
        self._store.set(self._prefix + key, value)

    def delete(self, key: str) -> bool:
        """See `AgentStateStore.delete`."""
        return self._store.delete(self._prefix + key)

    def resolve(self, key: str, choose: Callable[[list[object]], object]) -> object:
        """See `AgentStateStore.resolve`."""
        return self._store.resolve(self._prefix + key, choose)
