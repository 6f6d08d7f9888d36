"""Reading a directory whole finds the rows in it that must prove who wrote them and do not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from propagul import AgentStateStore
from propagul.crdt import ABSENT, REGISTER, Block, Dot, Origin, Row, Sibling, Stamp
from propagul.link import Credentials, Identity, RoomAuthority
from propagul.store import _verify
from propagul.store._verify import verify
from tests.store.owners import OTHER, OWNER, hand, plain_block, signed
from tests.store.verified import Author
from tests.store.world import ROOM, SECRET

if TYPE_CHECKING:
    from pathlib import Path

LIAR = Identity.from_seed(b"l" * 32)
STAMP = Stamp(1_790_000_000 * 10**9 >> 10)
DOT = Dot(STAMP, Origin(7))
MINE, THEIRS = f"nodes/{OWNER.node}/gpu", f"nodes/{OTHER.node}/gpu"
SECRET_VALUE = "what no report may tell"


def opened(path: Path, *, verify: str | None = None) -> AgentStateStore:
    """A store of OWNER's, in which `nodes/` is owned. What it is sent it takes for good."""
    credentials = Credentials.from_authority(OWNER, RoomAuthority.from_secret(ROOM, SECRET))
    store = AgentStateStore(ROOM, port=None, path=path, credentials=credentials, owned=("nodes/",), verify=verify)
    store._state.traffic.admit = lambda block: block
    return store


def faults(path: Path) -> list[str]:
    return [fault for report in verify(path) for fault in report.faults]


def log_of(path: Path) -> Path:
    (log,) = path.glob("log/*/")
    return log


@pytest.mark.parametrize("word", ["member", "origin"])
def test_a_directory_of_honest_rows_has_no_faults(tmp_path: Path, word: str) -> None:
    store = opened(tmp_path, verify=word)
    for number in range(50):
        store.set(MINE, number)
        store.set(f"k{number}", "v" * 500)
    with store.transaction():
        store.delete("k1")
        store.set("k2", 2)
        store.set(f"{MINE}/more", 3)
    store.counter("hits").add(7)
    assert store.delete(f"{MINE}/more")
    store.close()
    assert faults(tmp_path) == []
    with mock.patch("propagul.log.cold.FOLDED_BYTES_MAX", 0):
        assert faults(tmp_path) == []


FORGED_OWNED = {
    "unsigned": lambda key: plain_block(key, SECRET_VALUE, DOT),
    "signed by another": lambda key: plain_block(
        key, signed(LIAR, SECRET_VALUE, DOT, key=key, room=ROOM, space=""), DOT
    ),
    "of another room": lambda key: plain_block(key, signed(OTHER, SECRET_VALUE, DOT, key=key, room="x", space=""), DOT),
    "moved from another key": lambda key: plain_block(
        key, signed(OTHER, SECRET_VALUE, DOT, key=key + "/", room=ROOM, space=""), DOT
    ),
}


@pytest.mark.parametrize("forgery", FORGED_OWNED)
def test_an_owned_row_that_its_owner_did_not_write_is_named_with_its_owner(tmp_path: Path, forgery: str) -> None:
    store = opened(tmp_path)
    store.set(MINE, "honest")
    genuine = signed(OTHER, SECRET_VALUE, DOT, key=f"{THEIRS}/good", room=ROOM, space="")
    hand(store._state, plain_block(f"{THEIRS}/good", genuine, DOT))
    hand(store._state, FORGED_OWNED[forgery](THEIRS))
    store.set("plain", "unsigned, as it may be")
    store.close()
    assert faults(tmp_path) == [f"{log_of(tmp_path)}: {THEIRS!r} was not written by its owner, {OTHER.node}"]


def test_a_row_under_an_owned_prefix_that_names_no_member_is_nobodys(tmp_path: Path) -> None:
    store = opened(tmp_path)
    hand(store._state, plain_block("nodes/anybody", SECRET_VALUE, DOT))
    store.close()
    assert faults(tmp_path) == [f"{log_of(tmp_path)}: 'nodes/anybody' was not written by its owner, who is nobody"]


def test_a_proven_row_that_does_not_hold_is_named(tmp_path: Path) -> None:
    store, author = opened(tmp_path, verify="origin"), Author(LIAR, ROOM, "")
    store.set("honest", 1)
    good, taken = author.word("good", SECRET_VALUE, STAMP), author.word("taken", ABSENT, STAMP + 1)
    moved = author.word("elsewhere", SECRET_VALUE, STAMP + 2)
    thief = author.word(THEIRS, SECRET_VALUE, STAMP + 3)
    cold = author.word("elsewhere", SECRET_VALUE * 20, STAMP + 4)
    for key, sibling in {"good": good, "taken": taken, "moved": moved, THEIRS: thief, "cold": cold}.items():
        hand(store._state, block_of(key, sibling))
    hand(store._state, plain_block("bare", SECRET_VALUE, DOT))
    store.close()
    expected = [
        *(f"{log_of(tmp_path)}: {key!r} does not prove who wrote it" for key in ("bare", "cold", "moved")),
        f"{log_of(tmp_path)}: {THEIRS!r} was not written by its owner, {OTHER.node}",
    ]
    assert sorted(faults(tmp_path)) == sorted(expected)
    with mock.patch("propagul.log.cold.FOLDED_BYTES_MAX", 0):
        assert sorted(faults(tmp_path)) == sorted(expected), "also where values are left in the log"


def test_of_concurrent_values_each_must_prove_itself(tmp_path: Path) -> None:
    store, author = opened(tmp_path, verify="origin"), Author(LIAR, ROOM, "")
    siblings = author.word("k", 1, STAMP + 1), author.word("x", 2, STAMP)._replace(dot=DOT)
    hand(store._state, Block([], [("k", Row(siblings, {s.dot.origin: s.dot.stamp for s in siblings}))]))
    store.close()
    assert faults(tmp_path) == [f"{log_of(tmp_path)}: 'k' does not prove who wrote it"]


def test_many_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    store = opened(tmp_path)
    keys = [f"{THEIRS}/{number:04}" for number in range(_verify.NAMED_MAX + 5)]
    hand(store._state, Block([(key, SECRET_VALUE, REGISTER, *DOT) for key in keys], []))
    store.close()
    found = faults(tmp_path)
    assert len(found) == _verify.NAMED_MAX + 1
    assert found[-1] == f"{log_of(tmp_path)}: 5 more rows do not prove who wrote them"
    assert SECRET_VALUE not in "".join(found)


def test_what_was_replaced_or_belongs_to_no_rule_is_no_fault(tmp_path: Path) -> None:
    """Only rows that are kept count, and they are judged by the rules of the directory they are in."""
    store = opened(tmp_path)
    hand(store._state, plain_block(MINE, SECRET_VALUE, DOT))
    store.set(MINE, "honest, and newer")
    store.close()
    assert faults(tmp_path) == []
    copy = tmp_path.with_name(f"copy of {tmp_path.name}")
    shutil.copytree(tmp_path, copy)
    store = AgentStateStore(ROOM, port=None, path=copy, owned=())
    store.set("nodes/anybody", "now it may")
    store.close()
    assert faults(copy) == []


def block_of(key: str, sibling: Sibling) -> Block:
    return plain_block(key, sibling.payload, sibling.dot, sibling.kind)
