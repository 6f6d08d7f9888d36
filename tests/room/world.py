"""Agents for tests: rooms over stores on an island, whose names are numbers so that a seed tells everything."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from propagul.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from propagul import AgentStateStore

GONE_S = 60.0
"""After so long an agent that is not there any more was missed by everybody, its links' silence included."""


def numbered(start: str) -> Callable[[], str]:
    """Names that a test can foresee."""
    numbers = itertools.count()
    return lambda: f"{start}-{next(numbers)}"


def room_of(store: AgentStateStore, *, agent: str | None = None, capabilities: Iterable[str] = ()) -> Room:
    """A room that its agent is in."""
    name = agent or store.label
    room = Room(store, "r", agent=name, capabilities=capabilities, fresh_id=numbered(f"{name}-{id(store) % 10**6}"))
    room.enter()
    return room
