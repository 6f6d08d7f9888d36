"""Writes a directory of today's format for the tests of all later versions: `python -m tests.compat.make NAME`.

A released format is never written again: its directory stays as it is, and every later version must open it.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from unittest import mock

from propagul import AgentStateStore
from propagul.crdt import REGISTER, Op, Origin, Replica, VersionVector, codec, stamp_of_ns
from propagul.store import _streams
from propagul.testing import MemoryNetwork

HERE = Path(__file__).parent
NOON_NS = 1_795_262_400 * 10**9
UTC = dt.UTC


def write(path: Path) -> None:
    """A store that has done everything that its log has an event for."""
    store = AgentStateStore("compat", transport=MemoryNetwork().transport("here"), path=path)
    for number in range(50):
        store.set(f"old {number}", number)
        store.delete(f"old {number}")
    for _ in range(2):
        store._state.tidy(lambda _: True)
    for key, value in VALUES.items():
        store.set(key, value)
    with store.transaction():
        store.set("together 1", 1)
        store.set("together 2", 2)
    store.counter("tokens").add(812)
    store.set_of("done").update(["outline", 7, b"\x00"])
    store.log_of("events").extend(["started", {"step": 1}])
    store.map_of("config")["model", "name"] = "tiny"
    store.compact()
    store.set("after the snapshot", True)
    store.delete("removed afterwards")
    theirs(store, "conflict", "theirs", staged=False)
    with mock.patch.object(_streams, "STAGE_BYTES", 1):
        theirs(store, "from a long stream", "x" * 2000, staged=True)
    store.close()
    for unwanted in ("identity.key", "lock", "door", "turn"):
        for file in path.rglob(unwanted):
            file.unlink()


def theirs(store: AgentStateStore, key: str, value: str, *, staged: bool) -> None:
    """A stream from another replica."""
    author = Replica(Origin(2**40 + staged))
    author.apply(author.prepare([Op(key, REGISTER, value)], stamp_of_ns(NOON_NS)))
    cut = author.cut(after=0, known=VersionVector(), told=0)
    incoming = store._state.incoming()
    while not cut.at_end:
        for packed in codec.encode_blocks(cut.read(10)):
            incoming.add(packed)
    incoming.apply(cut.entries, cut.join)


VALUES: dict[str, object] = {
    "none": None,
    "yes": True,
    "int": -(2**40),
    "float": 0.5,
    "text": "snow \N{SNOWMAN}",
    "bytes": b"\x00\xff",
    "list": [1, [2, {"three": 3}]],
    "dict": {"a": 1, "b": [None, False]},
    "time": dt.datetime(2026, 11, 21, 12, 30, tzinfo=UTC),
    "conflict": "ours",
    "removed afterwards": 1,
}


if __name__ == "__main__":
    write(HERE / sys.argv[1])
