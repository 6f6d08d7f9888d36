"""Keys and items under a prefix against what the store says key by key, in slices so short that all ways are gone."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from propagul import AgentStateStore
from propagul.crdt.listing import Listing
from propagul.store import _reads, _streams, _upkeep
from propagul.store._signed import is_shown
from tests.crdt.histories import LONG
from tests.store.test_memory import pull
from tests.store.world import FAST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.crdt import Block, Found

KEYS = ["a", "a/1", "a/2", "a/20", "a/3", "a0", "b/1", "b/2", "b/\U0001f511", "c"]
PREFIXES = ["", "a", "a/", "a/2", "b/", "z", "\0"]
SMALL = [
    (_reads, "_SLICE_ROWS", 1),
    (_reads, "_SLICE_KEYS", 1),
    (_reads, "AT_ONCE_KEYS", 2),
    (_reads, "LISTED_KEYS", 5),
    (_streams, "EAGER_ROWS_MAX", 1),
    (_upkeep, "_RECORDS_MIN", 0),
]
SECRET = "Zr0fYx3uJ8qVt6LwBn5cKd2sGh7mPa4e"
keys, prefixes = st.sampled_from(KEYS), st.sampled_from(PREFIXES)


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    with contextlib.closing(AgentStateStore("room", port=None)) as store:
        yield store


class GivenUpError(Exception):
    """Ends a transaction."""


class KeysMachine(RuleBasedStateMachine):
    """Two stores that write, delete, exchange long streams and forget; one of them is asked now and then."""

    @initialize(kernel=st.sampled_from(["auto", "off"]), verify=st.sampled_from([None, None, "origin"]))
    def begin(self, kernel: str, verify: str | None) -> None:
        self.small = contextlib.ExitStack()
        for module, name, number in SMALL:
            self.small.enter_context(patch.object(module, name, number))
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PROPAGUL_KERNEL", kernel)
            self.stores = [
                AgentStateStore("room", port=None, config=FAST, secret=SECRET, verify=verify) for _ in range(2)
            ]

    def teardown(self) -> None:
        if hasattr(self, "small"):
            for store in self.stores:
                store.close()
            self.small.close()

    @rule(who=st.integers(0, 1), key=keys, value=st.sampled_from(["text", [1], None]))
    def write(self, who: int, key: str, value: object) -> None:
        self.stores[who].set(key, value)

    @rule(who=st.integers(0, 1), key=keys)
    def delete(self, who: int, key: str) -> None:
        self.stores[who].delete(key)

    @rule(who=st.integers(0, 1), element=keys)
    def change_a_set(self, who: int, element: str) -> None:
        """Its rows are no keys of anybody's."""
        elements = self.stores[who].set_of("a")
        (elements.discard if element in elements else elements.add)(element)

    @rule(who=st.integers(0, 1))
    def receive(self, who: int) -> None:
        """A stream that is not joined before somebody asks."""
        pull(self.stores[who], self.stores[1 - who])

    @rule(who=st.integers(0, 1))
    def tidy(self, who: int) -> None:
        """Removal records are dropped, and their slots used again."""
        self.stores[who]._state.tidy_alone()

    @rule(prefix=prefixes, reverse=st.booleans(), limit=st.none() | st.integers(0, 4))
    def ask(self, prefix: str, reverse: bool, limit: int | None) -> None:  # noqa: FBT001 - drawn by name
        store = self.stores[0]
        listed, found = store.keys(prefix, reverse=reverse, limit=limit), list(store.items(prefix))
        shown = sorted(key for key in KEYS if key.startswith(prefix) and key in store)
        assert listed == (shown[::-1] if reverse else shown)[:limit]
        assert found == [(key, store.get(key)) for key in shown]

    @rule(prefix=prefixes, key=keys, other=keys, fails=st.booleans())
    def ask_in_a_transaction(self, prefix: str, key: str, other: str, fails: bool) -> None:  # noqa: FBT001 - drawn by name
        store = self.stores[0]
        with contextlib.suppress(GivenUpError), store.transaction():
            store.set(key, "in a transaction")
            store.delete(other)
            self.ask(prefix, False, None)
            self.ask(prefix, True, 2)
            if fails:
                raise GivenUpError


TestKeysMachine = KeysMachine.TestCase
TestKeysMachine.settings = settings(max_examples=300 if LONG else 30, stateful_step_count=40)


@pytest.mark.parametrize("kernel", ["auto", "off"])
def test_rows_of_a_stream_that_nobody_touched_are_listed(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROPAGUL_KERNEL", kernel)
    monkeypatch.setattr(_streams, "EAGER_ROWS_MAX", 1)
    sender, receiver = (AgentStateStore("room", port=None) for _ in range(2))
    for number in range(5):
        sender.set(f"k{number}", number)
        sender.set_of("s").add(number)
    pull(receiver, sender)
    assert receiver._state.is_busy
    assert receiver.keys("k", reverse=True, limit=2) == ["k4", "k3"]
    for key in sender.keys("k"):
        sender.set(key, "newer")
    sender.delete("k3")
    pull(receiver, sender)
    assert receiver._state.is_busy
    assert dict(receiver.items("k")) == {f"k{number}": "newer" for number in (0, 1, 2, 4)}
    sender.close()
    receiver.close()


def test_what_sets_and_counters_are_made_of_is_nobodys_key(store: AgentStateStore) -> None:
    store.set_of("s").add(1)
    store.counter("c").add(1)
    store.set("k", 1)
    assert store.keys() == ["k"]
    assert [store.keys(prefix) for prefix in ("\0", "\0s")] == [[], []]
    assert [store.get_all(prefix) for prefix in ("\0", "\0s")] == [{}, {}]


def test_a_key_that_its_author_took_back_is_not_listed() -> None:
    """Where every row proves who wrote it, the word that there is none any more is a row too."""
    store = AgentStateStore("room", port=None, secret=SECRET, verify="origin")
    for key in ("k1", "k2", "k3"):
        store.set(key, key)
    store.delete("k2")
    assert store.keys("k") == ["k1", "k3"]
    assert store.get_all("k") == {"k1": "k1", "k3": "k3"}
    store.close()


def test_a_negative_limit_is_refused(store: AgentStateStore) -> None:
    with pytest.raises(ValueError, match="a limit of keys is 0 or more, not -1"):
        store.keys(limit=-1)


def test_a_question_costs_what_it_finds_and_not_what_there_is(store: AgentStateStore) -> None:
    for number in range(5000):
        store.set(f"other/{number}", number)
    for number in range(10):
        store.set(f"mine/{number}", number)
    assert len(store.keys("mine/")) == 10  # from here on the keys are in order
    looked: list[int] = []
    read = Listing.read

    def shown(found: Found) -> bool:
        looked.append(1)
        return is_shown(found)

    def read_and_count(listing: Listing, most: int) -> Block:
        block = read(listing, most)
        looked.append(len(block))
        return block

    with patch.object(_reads, "is_shown", shown), patch.object(Listing, "read", read_and_count):
        assert store.keys("mine/") == [f"mine/{number}" for number in range(10)]
        assert dict(store.items("mine/")) == {f"mine/{number}": number for number in range(10)}
        assert store.keys("other/", limit=3) == ["other/0", "other/1", "other/10"]
        assert store.keys(reverse=True, limit=2) == ["other/999", "other/998"]
    assert sum(looked) == 10 + 10 + 3 + 2


def test_until_somebody_asks_no_key_is_put_in_order(store: AgentStateStore) -> None:
    table = store._state.table
    for number in range(1000):
        store.set(f"k{number}", number)
    for number in range(500):
        store.delete(f"k{number}")
    store._state.tidy_alone()
    assert len(table) == 500
    store.set("in a slot used again", 1)
    assert len(table.ordered) == 0
    assert len(store.keys("k")) == 500
    store.set("k1000", 1)  # likewise
    assert (len(table._keys), len(table.ordered)) == (1000, 502)  # that costs what one key costs
    assert len(store.keys("k")) == 501


def test_many_keys_are_put_in_order_in_slices_with_the_lock_let_go_of_between_them(store: AgentStateStore) -> None:
    for number in range(20_000):
        store.set(f"k{number}", number)
    merges: list[int] = []
    merge = store._state.table.ordered.merge

    def watched(keys: list[str]) -> None:
        merges.append(len(keys))
        assert store._state.lock.locked()
        merge(keys)

    with patch.object(type(store._state.table.ordered), "merge", lambda _, keys: watched(list(keys))):
        assert len(store.keys()) == 20_000
    assert sum(merges) == 20_000
    assert max(merges) < 2000


@pytest.mark.parametrize("listed", [_reads.LISTED_KEYS, 100])
def test_what_is_found_is_of_one_instant_though_others_write_meanwhile(store: AgentStateStore, listed: int) -> None:
    """Each transaction writes two keys and removes two: whoever reads part of one has not read one instant."""
    stop = threading.Event()

    def write() -> None:
        for number in range(10**6):
            with store.transaction():
                for side in "ab":
                    store.set(f"{side}/{number % 2000}", number)
                    store.delete(f"{side}/{(number + 1000) % 2000}")
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with patch.object(_reads, "LISTED_KEYS", listed):
            deadline = time.monotonic() + 20
            while len(store.keys()) < 2000 and time.monotonic() < deadline:
                pass
            for _ in range(20):
                found = store.get_all()
                halves = [{k[2:]: v for k, v in found.items() if k[0] == side} for side in "ab"]
                assert halves[0] == halves[1]
                assert len(store.keys("a/")) == 1000
    finally:
        stop.set()
        writer.join()
