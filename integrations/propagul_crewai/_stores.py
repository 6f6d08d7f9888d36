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
import itertools
import os
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, PrivateAttr

from propagul import AgentStateStore, ClosedError, LocalProtocolError, connect
from propagul.adapters import Texts

if TYPE_CHECKING:
    BaseModel: Any  # or a type checker thinks up an `__init__` for every class that inherits ours
else:
    from pydantic import BaseModel

LENT = "open:"
"""How the names of stores begin that the program opened itself."""
PARTS = "crewai/part/"
"""Where the parts of long texts are."""


class Place(NamedTuple):
    """Where a store is and how it is opened."""

    conn_string: str
    room: str | None = None
    durability: str = "os"

    def now(self) -> Place:
        """The same place whatever becomes of the working directory."""
        is_path = self.conn_string and "://" not in self.conn_string
        return self._replace(conn_string=str(Path(self.conn_string).absolute())) if is_path else self


@dataclass(slots=True)
class _Shared:
    """An open store and who holds it."""

    store: AgentStateStore
    closing: contextlib.ExitStack
    holders: set[object] = field(default_factory=set)


class _Registry:
    """What is open in one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._shared: dict[Place, _Shared] = {}

    def take(self, place: Place, holder: object) -> AgentStateStore:
        """The store of a place, opened if it is not."""
        with self._lock:
            shared = self._shared.get(place)
            if shared is None:
                closing = contextlib.ExitStack()
                opened = connect(place.conn_string, room=place.room, durability=place.durability)
                shared = self._shared[place] = _Shared(closing.enter_context(opened), closing)
            shared.holders.add(holder)
            return shared.store

    def let_go(self, place: Place, holder: object) -> None:
        """One holder less. The store stays open: this may run in the store's own thread, which cannot end itself."""
        if self.pid == os.getpid() and place in self._shared:
            self._shared[place].holders.discard(holder)  # in one step, with no lock: it runs where a garbage is found

    def close_unused(self, place: Place) -> None:
        """Close the store of a place if nobody holds it."""
        with self._lock:
            if self.pid == os.getpid() and place in self._shared and not self._shared[place].holders:
                self._shared.pop(place).closing.close()


_registry = _Registry()
_lent: weakref.WeakValueDictionary[str, AgentStateStore] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def lent(state: object) -> object:
    """What names a store that is open already: a name for this process, as long as somebody holds the store.

    Anything else comes back as it is; a path as a connection string.
    """
    if isinstance(state, os.PathLike):
        return os.fspath(state)
    if not isinstance(state, AgentStateStore):
        return state
    for name, store in list(_lent.items()):
        if store is state:
            return name
    name = f"{LENT}{state.room}/{os.getpid():x}-{next(_numbers)}"
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

    One that the program opened itself is held from the beginning.

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
        self._borrowed = _lent.get(place.conn_string)

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
        with self._opening:
            self._is_closed, self._store, self._borrowed = True, None, None
        if self._release is not None:
            self._release()
            _of_this_process().close_unused(self.place)

    def _open(self) -> AgentStateStore:
        if self.place.conn_string.startswith(LENT):
            return self._borrowed or _borrow(self.place.conn_string)
        registry, self.place, holder = _of_this_process(), self.place.now(), object()
        store = registry.take(self.place, holder)
        self._release = weakref.finalize(self, registry.let_go, self.place, holder)
        return store


class OnStore:
    """What every adapter has: a store that it stands on until it is closed."""

    _lease: Lease

    @property
    def store(self) -> AgentStateStore:
        """The store that this stands on, opened if it was not."""
        return self._lease.store

    def close(self) -> None:
        """Let go of the store; the last adapter to do so closes it. Idempotent."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OnNamedStore(OnStore, BaseModel):
    """The same for what CrewAI writes into its own files and makes again of that.

    Attributes:
        conn_string: A directory, `memory://`, or `propagul://room@host:port`, see `propagul.connect`; or a store that
            is open. The store is opened at the first use and shared by all adapters of this process that name it.
        room: The room's name, where neither the string nor the directory says; then `agents`.
        durability: What was written survives when a call has returned: `os`, `group`, `each` or `peers:n`.
    """

    conn_string: Annotated[str, BeforeValidator(lent)]
    room: str | None = None
    durability: str = "os"
    _lease: Lease = PrivateAttr()

    def __init__(
        self, conn_string: str | os.PathLike[str] | AgentStateStore | None = None, /, **fields: object
    ) -> None:
        """Name a store; `fields` are the attributes."""
        super().__init__(**fields if conn_string is None else fields | {"conn_string": conn_string})
        self._lease = Lease(Place(self.conn_string, self.room, self.durability))


def texts_in(store: AgentStateStore) -> Texts:
    """Texts of any length in a store."""
    return Texts(store, PARTS)


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
