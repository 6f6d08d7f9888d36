"""The namespaces of a store, and opening them: what their log kept comes back, and what other processes left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.crdt import Replica
from propagul.store._namespace import Namespace
from propagul.store._origin import fresh_origin
from propagul.store._ownership import MEMBERS
from propagul.store._siblings import Siblings

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from propagul.store._disk import Disk
    from propagul.store._ownership import Ownership

STATE: Final = ""
"""What users write."""

PRESENCE: Final = "presence"
"""What is true only now: gossip carries it, and no log."""

OWN: Final = "own"
"""What no member may write, such as the invites made here: a log keeps it, and gossip never carries it."""


def open_spaces(
    lock: threading.Lock,
    wall_ns: Callable[[], int],
    disk: Disk | None,
    is_linked: Callable[[], bool],
    ownership: Ownership,
) -> tuple[dict[str, Namespace], Siblings | None]:
    """The namespaces by name, and the other processes of the directory, whose logs have been taken in.

    Raises:
        StoreCorrupt, StoreError: What the log kept cannot be read, or what others left cannot be logged.
    """
    replicas = {name: Replica(fresh_origin()) for name in (STATE, OWN, PRESENCE)}
    owned = {STATE: ownership.of(STATE), PRESENCE: ownership.of(PRESENCE, MEMBERS), OWN: None}
    for name, rows in owned.items():
        replicas[name].apart = None if rows is None else rows.apart
    logged = {name: replicas[name] for name in (STATE, OWN)}
    own = {} if disk is None else disk.recover(logged)
    journal = None if disk is None else disk.journal
    for name, rows in owned.items():
        if rows is not None:
            rows.clean(replicas[name])
    spaces = {
        name: Namespace(name, replica, lock, journal, wall_ns=wall_ns, own=own.get(name), owned=owned[name])
        for name, replica in logged.items()
    }
    siblings = None
    if disk is not None:
        disk.serve(spaces)
        siblings = Siblings(disk.directory, spaces)
        siblings.take_in()
    presence, rows = replicas[PRESENCE], owned[PRESENCE]
    spaces[PRESENCE] = Namespace(PRESENCE, presence, lock, None, wall_ns=wall_ns, owned=rows)
    for space in spaces.values():
        space.is_linked = is_linked
    return spaces, siblings
