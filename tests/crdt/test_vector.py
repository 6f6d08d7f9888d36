"""The version vector: a floor under what is hot, equal in everything to a plain dict that only rises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from propagul.crdt import Dot, Floor, Origin, Stamp, VersionVector
from tests.crdt.histories import LONG

if TYPE_CHECKING:
    from propagul.crdt import Entry
    from propagul.crdt.vector import Frozen

origins = st.sampled_from([1, 2, 3, 4, 5, 2**64 - 1]).map(Origin)
stamps = st.integers(1, 12).map(Stamp)
entries = st.lists(st.tuples(origins, stamps), max_size=4)


class VectorMachine(RuleBasedStateMachine):
    """One vector and a dict; the floor as a dict of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = VersionVector()
        self.model: dict[Origin, Stamp] = {}
        self.floor: dict[Origin, Stamp] = {}
        self.frozen: tuple[Frozen, dict[Origin, Stamp]] | None = None
        self.marks = {0: dict(self.model)}
        self.folded_mark = 0

    @rule(origin=origins, stamp=stamps)
    def advance(self, origin: Origin, stamp: Stamp) -> None:
        assert self.vector.advance(origin, stamp) == self._raise(self.model, [(origin, stamp)])

    @rule(found=entries)
    def join(self, found: list[Entry]) -> None:
        assert self.vector.join(found) == self._raise(self.model, found)

    @rule()
    def mark(self) -> None:
        assert self.marks.setdefault(self.vector.mark, dict(self.model)) == self.model

    @rule()
    def freeze(self) -> None:
        self.frozen = self.vector.freeze(), dict(self.model)

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def fold(self) -> None:
        assert self.frozen is not None
        frozen, then = self.frozen
        self.vector.fold(frozen)
        self._raise(self.floor, list(then.items()))
        self.frozen, self.folded_mark = None, max(self.folded_mark, frozen.mark)

    @rule(data=st.data())
    def raise_floor(self, data: st.DataObject) -> None:
        """As a join does, also between freeze and fold: some of what is covered already."""
        covered = data.draw(
            st.lists(st.sampled_from(sorted(self.model.items())), max_size=3) if self.model else st.just([])
        )
        self.vector.raise_floor(covered)
        self._raise(self.floor, covered)

    @rule(origin=origins, stamp=stamps)
    def change_a_copy(self, origin: Origin, stamp: Stamp) -> None:
        """Whatever is done to the one, the other does not see it; the copy goes on as the vector."""
        former, self.vector = self.vector, self.vector.copy()
        assert former == self.vector
        assert former.floor == self.vector.floor
        self.advance(origin, Stamp(self.model.get(origin, 0) + stamp))
        assert former != self.vector
        former.advance(Origin(9), Stamp(1))

    @staticmethod
    def _raise(known: dict[Origin, Stamp], found: list[Entry]) -> bool:
        before = dict(known)
        for origin, stamp in found:
            known[origin] = max(known.get(origin, Stamp(0)), stamp)
        return known != before

    @invariant()
    def it_says_what_the_dict_says(self) -> None:
        assert sorted(self.vector) == sorted(self.model.items())
        assert len(self.vector) == len(self.model)
        assert self.vector == VersionVector(self.model.items())
        assert self.vector.covers_all(self.model.items())
        assert self.vector.covers_all(self.vector.floor)
        for origin in (1, 2, 3, 4, 5, 9, 2**64 - 1):
            stamp = self.model.get(Origin(origin), Stamp(0))
            assert self.vector.stamp_of(Origin(origin)) == stamp
            assert self.vector.covers(Dot(stamp, Origin(origin)))
            assert not self.vector.covers_entry(Origin(origin), Stamp(stamp + 1))
            assert not self.vector.covers_all([(Origin(origin), Stamp(stamp + 1))])

    @invariant()
    def the_floor_is_what_was_folded(self) -> None:
        assert list(self.vector.floor) == sorted(self.floor.items())
        assert self.vector.floor == Floor(self.floor.items())
        assert len(self.vector.floor) == len(self.floor)
        assert {o: s for o, s in self.vector.hot if self.floor.get(o) != s} == {
            o: s for o, s in self.model.items() if self.floor.get(o) != s
        }

    @invariant()
    def since_a_mark_is_what_rose_since(self) -> None:
        """And after a fold of what an old mark saw, all there is."""
        for mark, then in self.marks.items():
            changed = {o: s for o, s in self.model.items() if then.get(o) != s}
            told = self.vector.since(mark)
            assert len(told) == len(dict(told))
            assert dict(told) == (changed if mark >= self.folded_mark else self.model)

    @invariant()
    def equal_vectors_have_equal_digests_and_others_have_not(self) -> None:
        digest = self.vector.digest()
        assert len(digest) == 16
        assert (
            digest
            == VersionVector(self.model.items()).digest()
            == VersionVector(floor=Floor(self.model.items())).digest()
        )
        higher = {**self.model, Origin(1): Stamp(self.model.get(Origin(1), Stamp(0)) + 1)}
        assert digest != VersionVector(higher.items()).digest()


TestVectorMachine = VectorMachine.TestCase
TestVectorMachine.settings = settings(max_examples=400 if LONG else 40, stateful_step_count=40)


def test_a_floor_finds_every_origin_and_no_other() -> None:
    floor = Floor((Origin(n * 7), Stamp(n)) for n in range(1, 500))
    assert [floor.stamp_of(Origin(n)) for n in range(3500)] == [n // 7 if n % 7 == 0 else 0 for n in range(3500)]
    assert floor.covers(Origin(14), Stamp(2))
    assert not floor.covers(Origin(14), Stamp(3))


def test_an_origin_named_twice_counts_once_with_its_highest_stamp() -> None:
    twice = [(Origin(5), Stamp(9)), (Origin(5), Stamp(3)), (Origin(4), Stamp(1))]
    assert list(Floor(twice)) == [(4, 1), (5, 9)]
    assert Floor(twice).stamp_of(Origin(5)) == 9
    assert VersionVector(twice, Floor(twice)) == VersionVector(reversed(twice))


def test_sixteen_bytes_hold_an_origin() -> None:
    floor = Floor((Origin(n), Stamp(n)) for n in range(1, 10_001))
    assert len(floor._origins) * floor._origins.itemsize + len(floor._stamps) * floor._stamps.itemsize == 160_000


def test_what_changed_since_costs_the_changes_and_not_the_vector() -> None:
    vector = VersionVector((Origin(n), Stamp(1)) for n in range(1, 100_001))
    mark = vector.mark
    vector.advance(Origin(7), Stamp(2))
    vector._hot = _Counted(vector._hot)
    assert vector.since(mark) == [(7, 2)]
    assert vector._hot.looked == 1


class _Counted(dict[Origin, Stamp]):
    looked = 0

    def __getitem__(self, origin: Origin) -> Stamp:
        self.looked += 1
        return super().__getitem__(origin)
