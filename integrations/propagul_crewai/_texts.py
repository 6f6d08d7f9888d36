"""Texts of any size under one key each, in a store whose values are limited.

A short text is the value of its row. A long one is cut into parts, which are written first, each time under a name of
their own; then the row is written, which names them. Whoever sees the row sees the parts, here and on every machine:
order of writes is order of visibility. The parts of what a write replaces are removed after it. A process that is
killed between the two leaves parts that no row names: they cost space and nothing else.

Concurrent writers leave siblings, as in the store: `read` gives the first, `read_all` every one.
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

from propagul import StoreError

if TYPE_CHECKING:
    from propagul import AgentStateStore

PARTS = "crewai/part/"
PART_BYTES = 512 * 1024
"""What one part holds at most; half of what a store takes as one value unless it is told otherwise."""

TRIES = 100
"""How often a text is read again because a writer replaced it in between."""

_writing = threading.Lock()


def write(store: AgentStateStore, key: str, text: str) -> None:
    """Put a text under a key. Visible at once and whole.

    Raises:
        PropagulError, ValueError: As `AgentStateStore.set`.
    """
    with _writing:
        replaced = _named_parts(store, key)
        store.set(key, text if _is_short(text) else _write_parts(store, text))
        _remove_parts(store, replaced)


def read(store: AgentStateStore, key: str) -> str | None:
    """The text of a key; None if there is none.

    Raises:
        StoreError: What is stored there is none, or a part of it is missing.
    """
    for _ in range(TRIES):
        value = store.get(key)
        if value is None or isinstance(value, str):
            return value
        if (text := _joined(store, value)) is not None:
            return text
    raise StoreError(f"what is stored under {key!r} is no text, or a part of it is missing")


def read_all(store: AgentStateStore, key: str) -> list[str]:
    """The text of a key and those that were written concurrently with it, the one that `read` gives first."""
    texts = [_joined(store, value) for value in _siblings(store, key)]
    return [text for text in texts if text is not None]


def remove(store: AgentStateStore, key: str) -> bool:
    """Remove a key with its parts; whether it was there."""
    with _writing:
        replaced = _named_parts(store, key)
        was_there = store.delete(key)
        _remove_parts(store, replaced)
        return was_there


def _is_short(text: str) -> bool:
    return len(text) <= PART_BYTES if text.isascii() else len(text.encode()) <= PART_BYTES


def _write_parts(store: AgentStateStore, text: str) -> list[object]:
    """Write the parts; what the row is to hold: their name and how many they are."""
    name, encoded = uuid.uuid4().hex, text.encode()
    parts = [encoded[start : start + PART_BYTES] for start in range(0, len(encoded), PART_BYTES)]
    for number, part in enumerate(parts):
        store.set(f"{PARTS}{name}/{number}", part)
    return [name, len(parts)]


def _siblings(store: AgentStateStore, key: str) -> list[object]:
    return store.get_conflicts(key) or [value for value in [store.get(key)] if value is not None]


def _named_parts(store: AgentStateStore, key: str) -> list[object]:
    return [value for value in _siblings(store, key) if type(value) is list]


def _remove_parts(store: AgentStateStore, named: list[object]) -> None:
    for key in (key for value in named for key in _part_keys(value)):
        store.delete(key)


def _joined(store: AgentStateStore, value: object) -> str | None:
    """The text that a row stands for; None if it is none, or not all of it is there."""
    if isinstance(value, str):
        return value
    parts = [store.get(key) for key in _part_keys(value)]
    found = [part for part in parts if isinstance(part, bytes)]
    return b"".join(found).decode() if parts and len(found) == len(parts) else None


def _part_keys(value: object) -> list[str]:
    match value:
        case [str(name), int(count)]:
            return [f"{PARTS}{name}/{number}" for number in range(count)]
    return []
