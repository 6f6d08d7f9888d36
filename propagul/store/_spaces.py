"""The namespaces of a store, and opening them: what their log kept comes back, and what other processes left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.crdt import Block, Replica
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

ROOM: Final = "room"
"""Who may be a member: deeds, each of which proves itself. What is none is not admitted."""

GOSSIPED: Final = (STATE, PRESENCE, ROOM)
"""What every member has; the rest stays here."""

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
        LocalProtocolError: What it kept does not fit the rules.
    """
    replicas = {name: Replica(fresh_origin()) for name in (STATE, OWN, ROOM, PRESENCE)}
    sealed = {STATE: ownership.of_state(STATE), PRESENCE: ownership.of(PRESENCE, MEMBERS), OWN: None, ROOM: None}
    for name, rows in sealed.items():
        replicas[name].apart = None if rows is None else rows.apart
    logged = {name: replicas[name] for name in (STATE, OWN, ROOM)}
    own = {} if disk is None else disk.recover(logged)
    journal = None if disk is None else disk.journal
    ownership.keep(replicas[STATE])
    for name, rows in sealed.items():
        if rows is not None:
            rows.recovered(replicas[name])
    spaces = {
        name: Namespace(name, replica, lock, journal, wall_ns=wall_ns, own=own.get(name), sealed=sealed[name])
        for name, replica in logged.items()
    }
    siblings = None
    if disk is not None:
        disk.serve(spaces)
        siblings = Siblings(disk.directory, spaces)
        siblings.take_in()
    spaces[ROOM].traffic.admit = lambda _: Block([], [])  # until there are keys to judge by
    presence, rows = replicas[PRESENCE], sealed[PRESENCE]
    spaces[PRESENCE] = Namespace(PRESENCE, presence, lock, None, wall_ns=wall_ns, sealed=rows)
    for space in spaces.values():
        space.is_linked = is_linked
    return spaces, siblings
