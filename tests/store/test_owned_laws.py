"""Laws of owned rows: what is admitted is a function of the row, and honest members agree whatever others do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from propagul.crdt import REGISTER, REMOVE, Block, Dot, Floor, Join, Origin, Stamp, VersionVector
from propagul.crdt.row import Row, Sibling
from propagul.link import Identity
from propagul.store import _signed
from propagul.store._signed import Place
from tests.crdt.histories import LONG
from tests.store.owners import NOW_NS, ROOM, SPACE, Wall, hand, member, shown, tell

if TYPE_CHECKING:
    from propagul.crdt import Payload
    from propagul.store._namespace import Namespace

OWNERS = [Identity.from_seed(bytes([n]) * 32) for n in range(3)]
HOSTILE = Identity.from_seed(b"h" * 32)
KEYS = [f"nodes/{owner.node}" + below for owner in [*OWNERS, HOSTILE] for below in ("", "/gpu")]

Written = tuple[str, Sibling]


@st.composite
def siblings(draw: st.DrawFn, key: str, genuine: dict[str, list[Sibling]]) -> Sibling:
    """A sibling of a key: genuine, or one of many kinds of forgery."""
    stamp = (NOW_NS >> 10) + draw(st.integers(-(10**6), 10**9))
    dot = Dot(Stamp(stamp), Origin(draw(st.integers(1, 9))))
    old = [sibling for held in genuine.values() for sibling in held]
    match draw(st.sampled_from(["genuine", "moved", "replayed", "signed by another", "unsigned", "other kind"])):
        case "genuine" if genuine.get(key):
            return draw(st.sampled_from(genuine[key]))
        case "moved" if old:
            return draw(st.sampled_from(old))
        case "replayed" if old:
            return draw(st.sampled_from(old))._replace(dot=dot)
        case "signed by another":
            return Sibling(dot, REGISTER, _signed.sign(HOSTILE, Place(ROOM, SPACE, key, dot), 0, "forged"))
        case "other kind" if genuine.get(key):
            return draw(st.sampled_from(genuine[key]))._replace(kind=3)
    return Sibling(dot, REGISTER, "forged")


@st.composite
def rows(draw: st.DrawFn, genuine: dict[str, list[Sibling]]) -> tuple[str, Row]:
    """Any row that the bytes of a block can hold, under an owned key of somebody else's."""
    key = draw(st.sampled_from(KEYS[:-2]))
    held = {sibling.dot: sibling for sibling in draw(st.lists(siblings(key, genuine), max_size=3))}
    context: dict[Origin, Stamp] = {}
    for dot in held:
        context[dot.origin] = max(context.get(dot.origin, Stamp(0)), dot.stamp)
    for origin in draw(st.lists(st.integers(1, 9), min_size=not held, max_size=3)):
        seen = max(context.get(Origin(origin), 0), (NOW_NS >> 10) + draw(st.integers(0, 10**9)))
        context[Origin(origin)] = Stamp(seen)
    return key, Row(tuple(held[dot] for dot in sorted(held, reverse=True)), context)


def _genuine(*spaces: Namespace) -> dict[str, list[Sibling]]:
    """Every owned write that some member holds."""
    found: dict[str, list[Sibling]] = {}
    for space in spaces:
        for key, held in shown(space).items():
            found.setdefault(key, []).extend(held)
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_admitted_is_a_function_of_the_row(data: st.DataObject) -> None:
    """Not of who receives it, of what it holds, nor of the rows that come with it."""
    writers = [member(n + 1, owner) for n, owner in enumerate(OWNERS)]
    for writer, owner in zip(writers, OWNERS, strict=True):
        writer.put(f"nodes/{owner.node}", "genuine")
    genuine = _genuine(*writers)
    made = dict(data.draw(st.lists(rows(genuine), max_size=6)))
    whole = Block([], list(made.items()))
    first, second = (space.sealed for space in writers[:2])
    assert first is not None
    assert second is not None
    together = first.admit(whole).plain
    apart = [plain for item in whole.other for plain in second.admit(Block([], [item])).plain]
    assert together == apart
    assert all(any(sibling.dot == (plain[3], plain[4]) for sibling in genuine[plain[0]]) for plain in together)
    assert first.admit(Block(together, [])) == Block(together, []), "what was admitted is admitted again"


class Room:
    """Three honest members, a second process of the first one, and what a hostile one may do to each."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self._walls = [Wall() for _ in range(4)]
        identities = [*OWNERS, OWNERS[0]]
        self.spaces = [member(n + 1, identity, wall=self._walls[n]) for n, identity in enumerate(identities)]
        self.said: dict[str, object] = {}
        self.seen: dict[str, list[Sibling]] = {}
        self._steps = 0

    def step(self) -> None:
        """Something happens at one of them."""
        self._steps += 1
        at = self._data.draw(st.integers(0, 3))
        honest = (self._write, self._take_back, self._tell, self._tell)
        self._data.draw(st.sampled_from((*honest, self._forge, self._claim_that_all_is_removed, self._move_clock)))(at)
        for known, held in _genuine(self.spaces[at]).items():
            self.seen.setdefault(known, []).extend(held)

    def everybody_tells(self) -> None:
        for receiver in self.spaces * 3:
            for sender in self.spaces:
                tell(receiver, sender)

    def _write(self, at: int) -> None:
        self.spaces[at].put(self._key(at), self._steps)
        self.said[self._key(at)] = self._steps

    def _take_back(self, at: int) -> None:
        if self.spaces[at].remove(self._key(at)):
            self.said[self._key(at)] = REMOVE

    def _tell(self, at: int) -> None:
        tell(self.spaces[at], self._data.draw(st.sampled_from(self.spaces)))

    def _move_clock(self, at: int) -> None:
        self._walls[at].now_ns += self._data.draw(st.sampled_from([-(10**12), 10**9, 4 * 10**12]))

    def _forge(self, at: int) -> None:
        made = dict(self._data.draw(st.lists(rows(self.seen), max_size=3)))
        hand(self.spaces[at], Block([], list(made.items())), [(Origin(9), Stamp(self._steps))])

    def _claim_that_all_is_removed(self, at: int) -> None:
        vector = VersionVector(list(self.spaces[at].hello()[1]))
        hand(self.spaces[at], Block([], []), join=Join(vector, Floor()))

    @staticmethod
    def _key(at: int) -> str:
        return f"nodes/{OWNERS[at % 3].node}"


@settings(max_examples=150 if LONG else 50, deadline=None)
@given(data=st.data())
def test_honest_members_agree_and_hold_each_owners_newest_word(data: st.DataObject) -> None:
    """Whatever was written, taken back and exchanged in which order, and whatever a hostile member sent in between."""
    room = Room(data)
    for _ in range(data.draw(st.integers(5, 25))):
        room.step()
    room.everybody_tells()
    views = [shown(space) for space in room.spaces]
    assert views[1:] == views[:-1]
    assert set(views[0]) == set(room.said)
    for key, held in views[0].items():
        (sibling,) = held
        assert all(_signed.rank(other) <= _signed.rank(sibling) for other in room.seen.get(key, ()))
        if key != f"nodes/{OWNERS[0].node}":  # that one has two writers, and their clocks say which is newer
            assert _word(sibling.payload) == room.said[key]


def _word(payload: Payload) -> object:
    signed = _signed.read(payload)
    assert signed is not None
    return REMOVE if _signed.is_withdrawn(payload) else signed.value
