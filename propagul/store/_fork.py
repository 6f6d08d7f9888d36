"""What a forked child must not do with the stores it inherited: write under its parent's stamps into its parent's log.

Every open store is told in the child, before the child goes on, so that no write has to ask which process it is in.
Reads go on working; where another thread of the parent was writing at the moment of the fork, one that needs the
store's lock may wait for ever.
"""

from __future__ import annotations

import weakref
from typing import Final, Protocol

from propagul import _system

INHERITED: Final = (
    "this store was opened by the process that this one was forked from: its log, links and stamps are that process's; "
    "open a store here, after the fork"
)


class Inheritable(Protocol):
    """Something that holds files, links or the right to mint stamps."""

    def _leave_to_parent(self) -> None:
        """We are in a forked child: let go of all that without touching it."""


def tell_children(store: Inheritable) -> None:
    """Have `_leave_to_parent` called in every child that is forked while this store exists."""
    _open.add(store)


def _leave_all() -> None:
    for store in list(_open):
        store._leave_to_parent()  # noqa: SLF001 - no part of a store's public face


_open: weakref.WeakSet[Inheritable] = weakref.WeakSet()
_system.in_forked_child(_leave_all)
