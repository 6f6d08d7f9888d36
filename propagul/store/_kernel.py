"""How a store's `set` and `get` become the kernel's.

The kernel takes the simple case of both methods and leaves every other one to them, so a store behaves the same with
and without it. Whether it is used at all: see `propagul.crdt.twins`.
"""

from __future__ import annotations

import functools
import threading
import time
from types import MethodType
from typing import TYPE_CHECKING, Final

from propagul.crdt import stamps_in
from propagul.crdt.twins import kernel as kernel_if_wanted
from propagul.crdt.wire import pack
from propagul.log.fold import BATCH
from propagul.log.writer import SegmentWriter
from propagul.store import _minting

if TYPE_CHECKING:
    from collections.abc import Callable

    from propagul.store._map import StateMap

_LIST_OF_SEVEN: Final = b"\x97"


def bind(store: StateMap, own: type[StateMap]) -> None:
    """Give a store the kernel's `set` and `get`, where there is one and the store is of the kind it knows.

    That is: its wall clock is the system's, its lock a plain one, no subclass has methods of its own by those names,
    and nobody else has leased its table's columns.

    Args:
        store: The store.
        own: The class whose methods the kernel shortens.

    Raises:
        LocalProtocolError: `PROPAGUL_KERNEL` is `on` and there is none, or it is no word known here.
    """
    kernel = kernel_if_wanted()
    if kernel is None:
        return
    if type(store).get is own.get:
        _put(store, kernel.Getter(own.get, store, store._rows, store._table), own.get)  # noqa: SLF001 - this and below: one class in two halves
    space = store._state  # noqa: SLF001
    if (
        type(store).set is own.set
        and space._wall_ns is time.time_ns  # noqa: SLF001
        and type(space.lock) is type(threading.Lock())
        and space.table.lessee is None
    ):
        setter = kernel.Setter(
            own.set,
            store,
            store._rows,  # noqa: SLF001
            space._replica,  # noqa: SLF001
            space.lock.locked,
            store._key_max,  # noqa: SLF001
            store._value_max,  # noqa: SLF001
            stamps_in(_minting.AHEAD_S_MAX),
            _log_of(store),
        )
        space.table.lessee = setter.release
        _put(store, setter if space.sealed is None else _beside(space.sealed.prefixes, own.set, setter), own.set)


def _beside(prefixes: tuple[str, ...], method: Callable[..., None], short: Callable[..., None]) -> Callable[..., None]:
    """The short way for all keys but those that are signed."""

    def set_value(store: StateMap, key: str, value: object, *, block: bool = True) -> None:
        if block and type(key) is str and not key.startswith(prefixes):
            short(store, key, value)
        else:
            method(store, key, value, block=block)

    return set_value


def _log_of(store: StateMap) -> tuple[object, object, object, type, bytes] | None:
    journal = store._state.journal  # noqa: SLF001
    if journal is None:
        return None
    prefix = _LIST_OF_SEVEN + pack(BATCH) + pack(store._state.name)  # noqa: SLF001
    return journal, journal._log, store._pressure, SegmentWriter, prefix  # noqa: SLF001


def _put(store: StateMap, short: Callable[..., object], method: Callable[..., object]) -> None:
    """Bind a callable of the kernel's as the method whose name, signature and docstring it bears."""
    functools.update_wrapper(short, method)
    store.__dict__[method.__name__] = MethodType(short, store)
