"""Reachable states: a few replicas that write, delete and merge, as hypothesis strategies."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from propagul.crdt import Cut, Origin, Replica, Row, Stamp, VersionVector, codec, stamp_of_ns

KEYS = ("a", "b", "c")
YEAR_NS = 365 * 24 * 3600 * 10**9
NOW_NS = 1_790_000_000 * 10**9
CLOCKS_NS = (NOW_NS, NOW_NS + 10 * YEAR_NS, NOW_NS - 10 * YEAR_NS)


class Step(NamedTuple):
    """One thing that happens: replica `who` writes, deletes, or takes everything that `other` has."""

    act: str
    who: int
    other: int
    key: str


steps = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(["write", "write", "delete", "merge"]),
        who=st.integers(0, 2),
        other=st.integers(0, 2),
        key=st.sampled_from(KEYS),
    ),
    max_size=30,
)


def whole(replica: Replica) -> Cut:
    """Everything a replica has, as a newcomer would be sent it."""
    return replica.cut(after=0, known=VersionVector(), told=0)


def take(receiver: Replica, cut: Cut, wall: Stamp) -> None:
    """Merge a cut the way it travels: through bytes."""
    packed = b"".join(codec.encode_row(key, row) for key, row in cut.rows)
    receiver.merge(codec.decode_rows(packed), cut.entries, wall)


def play(history: list[Step]) -> list[Replica]:
    """Three replicas with clocks ten years apart after a history."""
    replicas = [Replica(Origin(number + 1)) for number in range(3)]
    for number, step in enumerate(history):
        wall = stamp_of_ns(CLOCKS_NS[step.who] + number * 1_000_000)
        replica = replicas[step.who]
        if step.act == "merge":
            take(replica, whole(replicas[step.other]), wall)
        else:
            payload = None if step.act == "delete" else b"value %d" % number
            replica.apply_write(replica.prepare(step.key, 0, payload, wall))
    return replicas


def rows_of(replica: Replica) -> dict[str, tuple[object, object]]:
    """A replica's rows in a form that compares."""
    return {key: shape(row) for key, row in replica}


def shape(row: Row) -> tuple[object, object]:
    """A row in a form that compares."""
    return row.siblings, dict(row.context)
