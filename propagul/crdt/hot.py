"""The one path written for speed: a local write of one plain row.

The same as `Replica.prepare` and `Replica.apply` of a batch of one, with every look-up bound once and nothing called
that need not be; measured at a fifth of their time. Whatever is not plain goes the long way. The laws of the long way
are this path's oracle: a test runs both over the same histories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt.arrivals import CHUNK
from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX, Dot, Origin, Stamp
from propagul.crdt.wire import SCALARS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from propagul.crdt.payload import Payload
    from propagul.crdt.replica import Replica

    Put = Callable[[str, Payload], bool]


class Replay(NamedTuple):
    """Single writes read back from a log.

    Attributes:
        put: Apply one, given its stamp, origin, key, kind and action; False, and nothing happened, for what must go
            the long way.
        flush: Enter the newest dot applied into the vector and return it; None if there was none. Due before anything
            else touches the replica.
    """

    put: Callable[[object, object, object, object, object], bool]
    flush: Callable[[], Dot | None]


def replayer(replica: Replica) -> Replay:  # noqa: C901 - likewise
    """The way of `local_writer` for writes that are in the log already. Nobody watches, and nothing is captured."""
    table = replica.table
    slots, values, special = table.slots, table.values, table._special  # noqa: SLF001 - as above
    stamps, origins, kinds, arrivals = table._stamps, table._origins, table._kinds, table._arrivals  # noqa: SLF001 - as above
    journal, new_slot = table._journal, table._new_slot  # noqa: SLF001 - as above
    slot_of, scalars = slots.get, SCALARS
    minter = newest = 0

    def put(stamp: object, origin: object, key: object, kind: object, payload: object) -> bool:
        nonlocal minter, newest
        if type(payload) not in scalars or kind != 0 or type(key) is not str or not key:
            return False
        if type(stamp) is not int or not newest < stamp <= STAMP_MAX or type(origin) is not int:
            return False
        if origin != minter:
            if minter or not 0 < origin <= ORIGIN_MAX:
                return False
            minter = origin
        slot = slot_of(key)
        if slot is None:
            slots[key] = slot = new_slot(key)
            origins[slot] = origin
        elif slot in special or origins[slot] != origin:
            return False
        values[slot] = payload  # type: ignore[call-overload]  # one of the scalars
        newest = stamps[slot] = stamp
        kinds[slot] = 0
        latest = journal.newest
        arrivals[slot] = journal.begin + len(latest)
        latest.append(slot)
        if len(latest) >= CHUNK:
            journal.close_chunk()
        return True

    def flush() -> Dot | None:
        nonlocal minter, newest
        dot, minter, newest = Dot(Stamp(newest), Origin(minter)), 0, 0
        if not dot.stamp:
            return None
        replica.note(dot)
        return dot

    return Replay(put, flush)


def local_writer(
    replica: Replica,
    lock: threading.Lock,
    wall_ns: Callable[[], int],
    ahead_max: int,
    log: Callable[[str, Payload, int, int], object] | None,
) -> Put:
    """A function that writes one register, or returns False where the long way must be taken; nothing happened then.

    Args:
        replica: What it writes to.
        lock: Taken and released around each write.
        wall_ns: Wall clock, nanoseconds since the epoch.
        ahead_max: How many stamps our last one may lie ahead of the wall clock.
        log: Called with key, payload, stamp and origin before the write is visible; what it raises comes back.
    """
    table = replica.table
    slots, values, special = table.slots, table.values, table._special  # noqa: SLF001 - the same room, unrolled
    stamps, origins, kinds, arrivals = table._stamps, table._origins, table._kinds, table._arrivals  # noqa: SLF001 - as above
    captures, journal, new_slot, leave = table._captures, table._journal, table._new_slot, table._leave  # noqa: SLF001 - as above
    slot_of = slots.get

    def put(key: str, payload: Payload) -> bool:
        with lock:
            if replica.watched:
                return False
            clock, origin = replica.clock, replica.origin
            wall: int = wall_ns() >> 10
            stamp: Stamp = clock.last + 1  # type: ignore[assignment]  # calling the new type costs more than the sum
            if wall > stamp:
                stamp = wall  # type: ignore[assignment]  # likewise
            elif stamp - wall > ahead_max:
                return False
            slot = slot_of(key)
            if slot is not None and (slot in special or origins[slot] != origin):
                return False
            if log is not None:
                log(key, payload, stamp, origin)
            if slot is None:
                slots[key] = slot = new_slot(key)
                origins[slot] = origin
            elif captures:
                leave(slot)
            values[slot] = payload
            clock.last = replica.minted = stamp
            stamps[slot] = stamp
            kinds[slot] = 0
            newest = journal.newest
            arrivals[slot] = journal.begin + len(newest)
            newest.append(slot)
            if len(newest) >= CHUNK:
                journal.close_chunk()
            return True

    return put
