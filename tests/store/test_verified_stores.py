"""Stores in rooms where every row proves who wrote it: they show what other stores show, whatever liars send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagul import AgentStateStore
from propagul.crdt import GONE, REGISTER, Block, Dot, Evicted, Origin, Packed, Stamp
from propagul.crdt.row import SIBLINGS_MAX, Row, Sibling
from propagul.errors import LimitExceeded, LocalProtocolError, PeerProtocolError, StoreCorrupt
from propagul.link import Identity
from propagul.store._export import Exported, export_lines
from propagul.store._import import import_lines
from propagul.store._retention import Retention
from propagul.store._sealed import FORGED_MAX
from propagul.store._values import Limits
from tests.store.owners import hand, plain_block, tell
from tests.store.test_compaction import disk_of
from tests.store.test_memory import evict, lone, text
from tests.store.verified import Author, raw
from tests.store.world import FAST, SECRET, address, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from propagul.store._namespace import Namespace

LIAR = Identity.from_seed(b"l" * 32)
STAMP = 1_790_000_000 * 10**9 >> 10


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    made = verified()
    yield made
    made.close()


def verified(path: Path | None = None, **more: object) -> AgentStateStore:
    return AgentStateStore("room", port=None, path=path, verify="origin", **more)  # type: ignore[arg-type]


def a_liar() -> Author:
    return Author(LIAR, "room", "")


def told(space: Namespace, key: str, *siblings: Sibling, seen: dict[Origin, Stamp] | None = None) -> None:
    """The namespace is sent a row of these."""
    ordered = sorted(siblings, key=lambda sibling: sibling.dot, reverse=True)
    context = {**(seen or {}), **{sibling.dot.origin: sibling.dot.stamp for sibling in reversed(ordered)}}
    hand(space, Block([], [(key, Row(tuple(ordered), context))]))


# --- as any store ------------------------------------------------------------------------------------------------


def max_of(values: list[object]) -> object:
    return max(values, key=repr)


def transacted(store: AgentStateStore, number: int) -> None:
    with store.transaction():
        store.set("k0", [number])
        assert store.get("k0") == [number]
        store.delete("k1")
        store.counter("c").add(1)
        store.set("t", number)


STEPS: list[Callable[[AgentStateStore, int], object]] = [
    lambda store, n: store.set(f"k{n % 3}", n),
    lambda store, n: store.set(f"k{n % 3}", {"n": n}),
    lambda store, n: store.delete(f"k{n % 3}"),
    lambda store, n: store.resolve(f"k{n % 3}", max_of) if store.get_conflicts(f"k{n % 3}") else None,
    lambda store, n: store.counter("c").add(n - 5),
    lambda store, n: store.set_of("s").add(n % 4),
    lambda store, n: store.set_of("s").discard(n % 4),
    lambda store, n: store.log_of("l").append(n),
    lambda store, n: store.map_of("m").set(("a", str(n % 2)), n),
    lambda store, n: store.map_of("m").delete(("a", str(n % 2))) if ("a", str(n % 2)) in store.map_of("m") else None,
    transacted,
]


def view(store: AgentStateStore) -> dict[str, object]:
    """All that a store shows."""
    return {
        "values": store.get_all(),
        "gets": [store.get(f"k{n}", "none") for n in range(3)],
        "there": [f"k{n}" in store for n in range(3)],
        "conflicts": [sorted(map(repr, store.get_conflicts(f"k{n}"))) for n in range(3)],
        "counter": store.counter("c").value,
        "set": set(store.set_of("s")),
        "log": sorted(entry.value for entry in store.log_of("l")),  # type: ignore[type-var]  # numbers
        "map": sorted(store.map_of("m").items()),
        "keys": (len(store), store.stats.keys, store.stats.conflicts),
    }


class Watch:
    """A clock that moves when it is read, so that stamps never tie."""

    now_ns = 1_800_000_000 * 10**9

    def time_ns(self) -> int:
        Watch.now_ns += 10**6
        return Watch.now_ns

    def monotonic(self) -> float:
        return 0.0

    async def wait(self, *_: object) -> bool:
        raise NotImplementedError


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, len(STEPS)), st.integers(0, 9)), max_size=25))
def test_a_room_with_proofs_shows_what_one_without_shows(steps: list[tuple[int, int, int]]) -> None:
    rooms = [
        [AgentStateStore("room", port=None, clock=Watch(), verify=verify) for _ in range(2)]
        for verify in ("member", "origin")
    ]
    for at, step, number in (*steps, (0, len(STEPS), 0), (1, len(STEPS), 0)):
        for room in rooms:
            if step < len(STEPS):
                STEPS[step](room[at], number)
            else:
                tell(room[at]._state, room[1 - at]._state)
        assert view(rooms[0][at]) == view(rooms[1][at])
    for room in rooms:
        assert view(room[0]) == view(room[1])
        for store in room:
            store.close()


def test_what_is_watched_and_what_is_past_are_values_and_not_their_proofs(tmp_path: Path) -> None:
    seen: list[list[object]] = []
    store = verified(tmp_path, retention=Retention("all"))
    store._state.listen(lambda change, _: seen.append([sibling.payload for sibling in change.after.siblings]))
    store.set("k", {"n": 1})
    moment = store.history("k")[-1].at
    store.set("k", 2)
    store.delete("k")
    assert [(version.deleted, version.value) for version in store.history("k")] == [
        (False, {"n": 1}),
        (False, 2),
        (True, None),
    ]
    past = store.at(moment)
    assert (past.get("k"), past.get_all(), "k" in past, len(past)) == ({"n": 1}, {"k": {"n": 1}}, True, 1)
    assert seen == [[Packed(b"\x81\xa1n\x01")], [2], []]
    store.close()


def test_a_restart_writes_on_with_a_fresh_origin_and_removals_stay(tmp_path: Path) -> None:
    store = verified(tmp_path)
    store.set("kept", 1)
    store.set("gone", 1)
    store.delete("gone")
    first = store._state.origin
    store.close()
    again = AgentStateStore("room", port=None, path=tmp_path)  # the directory knows
    assert again._state.origin != first
    assert again.get_all() == {"kept": 1}
    again.set("kept", 2)
    other = verified()
    tell(other._state, again._state)
    assert other.get_all() == {"kept": 2}
    assert [sibling.kind for sibling in raw(other._state)["gone"].siblings] == [GONE]
    again.close()
    other.close()


def test_values_that_only_the_disk_holds_keep_their_proofs_and_are_read(tmp_path: Path) -> None:
    verified(tmp_path).close()
    store = lone(tmp_path)
    for number in range(2000):
        store.set(f"k{number}", [text(number)])
    evict(store)
    assert store.stats.evicted > 1000
    assert isinstance(store._state.table.get("k0"), Evicted)
    assert store.get("k0") == [text(0)]
    other = verified()
    tell(other._state, store._state)
    assert other.get_all() == store.get_all()
    assert other.stats.refused_rows == 0
    disk_of(store).compact()
    other.set("k0", "newer")
    tell(store._state, other._state)
    assert store.get("k0") == "newer"
    assert (store.get("k1"), store.get("k1999")) == ([text(1)], [text(1999)])
    store.close()
    other.close()


def test_conflicts_are_exported_and_imported_with_proofs_of_their_own(store: AgentStateStore) -> None:
    other = AgentStateStore("room", port=None)
    for name, value in (("one", 1), ("two", 2)):
        writer = AgentStateStore("room", name, port=None)
        writer.set("k", value)
        tell(other._state, writer._state)
        writer.close()
    other.log_of("l").append("entry")
    assert len(other.get_conflicts("k")) == 2
    lines = list(export_lines(other, "room", Exported()))
    import_lines(store, lines)
    assert store.get_conflicts("k") == other.get_conflicts("k")
    third = verified()
    tell(third._state, store._state)
    assert (third.get_conflicts("k"), next(iter(third.log_of("l"))).value) == (store.get_conflicts("k"), "entry")
    assert third.stats.refused_rows == 0
    for made in (other, third):
        made.close()


# --- directories -------------------------------------------------------------------------------------------------


def test_a_directory_with_rows_that_prove_nothing_is_not_taken_over(tmp_path: Path) -> None:
    store = AgentStateStore("room", port=None, path=tmp_path)
    store.set("k", 1)
    store.close()
    with pytest.raises(LocalProtocolError, match="begins with an empty directory"):
        verified(tmp_path)
    again = AgentStateStore("room", port=None, path=tmp_path)
    assert again.get_all() == {"k": 1}
    again.set("k", 2)
    again.close()


def test_an_empty_directory_may_change_its_mind_once(tmp_path: Path) -> None:
    AgentStateStore("room", port=None, path=tmp_path).close()
    verified(tmp_path).close()
    with pytest.raises(LocalProtocolError, match="prove who wrote them"):
        AgentStateStore("room", port=None, path=tmp_path, verify="member")


def test_a_damaged_or_newer_rule_is_no_rule(tmp_path: Path) -> None:
    verified(tmp_path).close()
    for damaged in (
        b'{"format": 3, "owned": [], "verify": "origin"}',
        b'{"format": 2, "owned": [], "verify": "?"}',
        b"{",
    ):
        (tmp_path / "owned.json").write_bytes(damaged)
        with pytest.raises(StoreCorrupt, match="damaged or of a newer version"):
            AgentStateStore("room", port=None, path=tmp_path)


@pytest.mark.parametrize("word", ["", "Origin", "none"])
def test_only_two_words_are_known(word: str) -> None:
    with pytest.raises(ValueError, match="'member' or 'origin'"):
        AgentStateStore("room", port=None, verify=word)


# --- what is refused ---------------------------------------------------------------------------------------------


def test_what_nobody_signed_is_dropped_and_counted_and_the_rest_of_the_block_is_taken(store: AgentStateStore) -> None:
    author = a_liar()
    good = author.word("good", 1, STAMP)
    hand(
        store._state,
        Block(
            [
                ("good", good.payload, good.kind, *good.dot),
                ("moved", good.payload, good.kind, *good.dot),
                ("plain", "forged", REGISTER, Stamp(STAMP), Origin(7)),
            ],
            [("removed", Row((), {Origin(7): Stamp(STAMP)}))],
        ),
    )
    assert store.get_all() == {"good": 1}
    assert store.stats.refused_rows == 3


def test_a_claim_of_having_seen_a_row_removes_nothing(store: AgentStateStore) -> None:
    store.set("k", 1)
    word = a_liar().word("k", 2, STAMP)
    told(store._state, "k", word, seen={store._state.origin: Stamp(2**60)})
    assert sorted(store.get_conflicts("k")) == [1, 2]  # type: ignore[type-var]  # numbers
    assert raw(store._state)["k"].context[store._state.origin] == store._state.minted


def test_a_block_full_of_forgeries_ends_the_link(store: AgentStateStore) -> None:
    word = a_liar().word("k", 1, STAMP)
    rows = [(f"k{n}", word.payload, REGISTER, *word.dot) for n in range(FORGED_MAX + 1)]
    hand(store._state, Block(rows[:FORGED_MAX], []))
    with pytest.raises(PeerProtocolError, match="not signed"):
        hand(store._state, Block(rows, []))
    assert store.get_all() == {}


def test_a_removal_passed_off_as_a_value_or_a_value_as_a_removal_is_refused(store: AgentStateStore) -> None:
    author = a_liar()
    for sibling in (author.word("k", 1, STAMP, kind=GONE), author.word("k", 1, STAMP)._replace(kind=GONE)):
        told(store._state, "k", sibling)
    assert (store.get_all(), store.stats.refused_rows) == ({}, 2)


def test_under_an_owned_prefix_the_author_must_be_the_owner() -> None:
    store = AgentStateStore("room", port=None, secret=SECRET, owned=("nodes/",), verify="origin")
    liar, mine = a_liar(), f"nodes/{store.node}"
    store.set(mine, "here")
    with pytest.raises(LocalProtocolError, match="not this store's to write"):
        store.set(f"nodes/{LIAR.node}", "there")
    told(store._state, mine, liar.word(mine, "taken over", STAMP, {store._state.origin: store._state.minted}))
    told(store._state, f"nodes/{LIAR.node}", liar.word(f"nodes/{LIAR.node}", "its own", STAMP))
    assert store.get_all() == {mine: "here", f"nodes/{LIAR.node}": "its own"}
    assert store.stats.refused_rows == 1
    store.close()


def test_a_value_that_is_too_large_with_its_proof_is_refused_and_nothing_is_written() -> None:
    most = 16 * 1024 * 1024
    store = verified(limits=Limits(value_bytes=most))
    with pytest.raises(LimitExceeded, match="with its proof"):
        store.set("k", b"x" * (most - 100))
    assert "k" not in store
    store.set("k", b"x" * (most - 1000))
    assert len(store.get("k")) == most - 1000  # type: ignore[arg-type]  # bytes
    store.close()


# --- liars -------------------------------------------------------------------------------------------------------


def test_an_author_of_two_histories_is_counted_and_both_show_the_same() -> None:
    stores, author = [verified(), verified()], a_liar()
    words = [author.word("k", value, STAMP) for value in ("one", "other")]
    for store, word in zip(stores, words, strict=True):
        told(store._state, "k", word)
    for store, word in zip(stores, reversed(words), strict=True):
        told(store._state, "k", word)
    assert raw(stores[0]._state) == raw(stores[1]._state)
    assert stores[0].get("k") == stores[1].get("k")
    assert [store.stats.equivocations for store in stores] == [1, 1]
    for store in stores:
        store.close()


def test_who_claims_to_have_seen_what_is_being_written_keeps_it_out_for_no_longer_than_a_write(
    store: AgentStateStore,
) -> None:
    store.set("k", "mine")
    barred, other = store._state.origin, verified()
    told(store._state, "k", a_liar().word("k", "captured", STAMP, {barred: Stamp(2**60)}))
    assert store.get("k") == "captured"
    store.set("elsewhere", 1)
    assert store._state.origin == barred
    store.set("k", "mine again")
    assert store._state.origin != barred
    tell(other._state, store._state)
    assert other.get("k") == store.get("k") == "mine again"
    assert other.get_conflicts("k") == []
    other.close()


def test_of_too_many_siblings_the_highest_is_written_anew(store: AgentStateStore) -> None:
    words = [Author(LIAR, "room", "").word("k", n, STAMP + n) for n in range(SIBLINGS_MAX + 1)]
    told(store._state, "k", *words[:-1])
    assert len(store.get_conflicts("k")) == SIBLINGS_MAX
    told(store._state, "k", words[-1])
    assert (store.get("k"), store.get_conflicts("k")) == (SIBLINGS_MAX, [])
    assert store.stats.siblings_trimmed == 1


def test_a_payload_in_the_form_of_a_word_is_a_value_like_any_other_where_nothing_is_proven() -> None:
    store = AgentStateStore("room", port=None)
    word = a_liar().word("k", "inside", STAMP)
    assert type(word.payload) is Packed
    hand(store._state, plain_block("k", word.payload, Dot(Stamp(STAMP), Origin(7))))
    assert store.get("k") == "inside"
    store.close()


# --- over links --------------------------------------------------------------------------------------------------


def test_stores_exchange_proven_rows_over_real_links_and_a_third_gets_them_from_who_did_not_write_them() -> None:
    async def scenario() -> None:
        def made(label: str, **more: object) -> AgentStateStore:
            return AgentStateStore("room", label, 0, "127.0.0.1", secret=SECRET, config=FAST, **more)  # type: ignore[arg-type]

        a, b, c = (made(label, verify="origin") for label in "abc")
        other = made("careless")
        await a.start()
        with a.transaction():
            for number in range(1500):
                a.set(f"k{number}", number)
        a.delete("k0")
        await b.start(peers=[address(a)], require_peers=1)
        await a.stop()
        await c.start(peers=[address(b)], require_peers=1)
        assert c.get_all() == b.get_all() == {f"k{number}": number for number in range(1, 1500)}
        c.set("k1", "newer")
        await c.flush(peers=1)
        assert (b.get("k1"), b.get_conflicts("k1")) == ("newer", [])
        assert b.stats.refused_rows == c.stats.refused_rows == 0
        report = await other.start(peers=[address(b)], sync_timeout_s=1)
        await until(lambda: any("other rules than this store" in store.stats.last_drop for store in (b, other)))
        assert not report.complete
        assert other.get_all() == {}
        for store in (other, c, b):
            await store.stop()

    run(scenario)
