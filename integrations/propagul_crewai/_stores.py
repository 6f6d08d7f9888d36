"""The open stores of this process: one for each connection string and room, shared and counted.

The last adapter that is closed closes the store. What nobody closed ends with the process, as in a crash: nothing that
was written is lost, and who had not heard of it yet does so when the directory is opened again.

A directory has one log a process, so two adapters that name the same place must stand on the same store. What CrewAI
writes into its own files about an adapter is its connection string, of which the same adapter can be made again, in
this process or in another one. A store that the program opened itself is lent under a name of its own (`open:...`),
which only this process can resolve, and is never closed from here.

Opening waits for the first use: an adapter is often made while a module is imported, and a server that imports before
it forks must not hand an open store to its children. A child opens its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from propagul import AgentStateStore, ClosedError, LocalProtocolError, connect

if TYPE_CHECKING:
    from types import TracebackType

LENT = "open:"
"""How the names of stores begin that the program opened itself."""


class Place(NamedTuple):
    """Where a store is and how it is opened."""

    conn_string: str
    room: str | None = None
    durability: str = "os"

    def now(self) -> Place:
        """The same place whatever becomes of the working directory."""
        path = Path(self.conn_string)
        return self if "://" in self.conn_string else self._replace(conn_string=str(path.absolute()))


@dataclass(slots=True)
class _Shared:
    """An open store and how many hold it."""

    store: AgentStateStore
    closing: contextlib.ExitStack
    holders: int = 0


class _Registry:
    """What is open in one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._shared: dict[Place, _Shared] = {}

    def take(self, place: Place) -> AgentStateStore:
        """The store of a place, opened if it is not; one holder more."""
        with self._lock:
            shared = self._shared.get(place)
            if shared is None:
                closing = contextlib.ExitStack()
                opened = connect(place.conn_string, room=place.room, durability=place.durability)
                shared = self._shared[place] = _Shared(closing.enter_context(opened), closing)
            shared.holders += 1
            return shared.store

    def let_go(self, place: Place) -> None:
        """One holder less. The store stays open: this may run in the store's own thread, which cannot end itself."""
        if self.pid == os.getpid() and place in self._shared:
            self._shared[place].holders -= 1

    def close_unused(self, place: Place) -> None:
        """Close the store of a place if nobody holds it."""
        with self._lock:
            if self.pid == os.getpid() and place in self._shared and not self._shared[place].holders:
                self._shared.pop(place).closing.close()


_registry = _Registry()
_lent: weakref.WeakValueDictionary[str, AgentStateStore] = weakref.WeakValueDictionary()


def lent(state: object) -> object:
    """What names a store that is open already: a name for this process, as long as somebody holds the store.

    Anything else comes back as it is; a path as a connection string.
    """
    if isinstance(state, os.PathLike):
        return os.fspath(state)
    if not isinstance(state, AgentStateStore):
        return state
    name = f"{LENT}{state.room}/{id(state):x}"
    _lent[name] = state
    return name


def named(state: object) -> str:
    """The connection string of what names a store.

    Raises:
        TypeError: It is neither a connection string, nor a path, nor a store.
    """
    name = lent(state)
    if not isinstance(name, str):
        raise TypeError(f"a store is named by a connection string or is an AgentStateStore, not {type(name).__name__}")
    return name


class Lease:
    """A hold on the store of a place: opened at the first use, let go of by `close` or when it is collected.

    Args:
        place: Which store.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._pid = 0
        self._store: AgentStateStore | None = None
        self._release: weakref.finalize[..., Lease] | None = None
        self._is_closed = False
        self._opening = threading.Lock()

    @property
    def store(self) -> AgentStateStore:
        """The store, open.

        Raises:
            ClosedError: The lease was closed.
            LocalProtocolError: The program's own store that it names is not here.
            PropagulError: See `propagul.connect`.
        """
        if self._store is not None and self._pid == os.getpid():
            return self._store
        with self._opening:
            if self._is_closed:
                raise ClosedError("this adapter is closed")
            if self._store is None or self._pid != os.getpid():
                self._store = self._open()
                self._pid = os.getpid()
            return self._store

    def close(self) -> None:
        """Let go; the last one to do so closes the store. Idempotent."""
        self._is_closed, self._store = True, None
        if self._release is not None:
            self._release()
            _of_this_process().close_unused(self.place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _open(self) -> AgentStateStore:
        if self.place.conn_string.startswith(LENT):
            return _borrow(self.place.conn_string)
        registry, self.place = _of_this_process(), self.place.now()
        store = registry.take(self.place)
        self._release = weakref.finalize(self, registry.let_go, self.place)
        return store


def _borrow(name: str) -> AgentStateStore:
    store = _lent.get(name)
    if store is None:
        raise LocalProtocolError(
            f"{name!r} was a store that a program had open: that is over. Make the adapter anew, over the store or, so "
            "that another process can open it, with a connection string"
        )
    return store


def _of_this_process() -> _Registry:
    """A child process begins with nothing open: what its parent opened stays the parent's."""
    global _registry  # noqa: PLW0603 - see above
    if _registry.pid != os.getpid():
        _registry = _Registry()
    return _registry
