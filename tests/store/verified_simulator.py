"""A simulator of verified rows: three honest members, and one that signs, forges, holds back and claims what it likes.

The oracle (`expected`) knows signed words as it made them, and no code of the join: it asks of every word whether some
other one leads to it by what each says it has seen.

`python -m tests.store.verified_simulator FROM COUNT` plays schedules.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from propagul.crdt import ABSENT, REGISTER, Block, Dot, Floor, Join, Op, Origin, Packed, Stamp, VersionVector
from propagul.crdt.row import Row, Sibling
from propagul.errors import PeerProtocolError
from propagul.link import Identity
from propagul.store import _batch_proof
from tests.store.owners import NOW_NS, Wall, hand, tell
from tests.store.verified import Author, raw, verified_member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.crdt.payload import Found


HONEST = [Identity.from_seed(bytes([n]) * 32) for n in range(3)]
LIAR = Identity.from_seed(b"l" * 32)
KEYS = ["a", "b", "c"]
NOW = NOW_NS >> 10


class Word(NamedTuple):
    """A signed word as the oracle knows it."""

    sibling: Sibling
    seen: Mapping[Origin, Stamp]

    def leads_to(self, other: Word) -> bool:
        (stamp, origin), (mine, by) = other.sibling.dot, self.sibling.dot
        return self.seen.get(origin, 0) >= stamp or (by == origin and mine > stamp)


def expected(words: list[Word]) -> set[Sibling]:
    """What a row of these words holds."""
    greatest: dict[Dot, Word] = {}
    for word in words:
        held = greatest.get(word.sibling.dot)
        if held is None or as_bytes(held) < as_bytes(word):
            greatest[word.sibling.dot] = word
    rest = list(greatest.values())
    leads = {(a, b) for a in range(len(rest)) for b in range(len(rest)) if a != b and rest[a].leads_to(rest[b])}
    while further := {(a, d) for a, b in leads for c, d in leads if b == c} - leads:
        leads |= further
    gone = {b for a, b in leads if (b, a) not in leads}
    return {word.sibling for number, word in enumerate(rest) if number not in gone}


def as_bytes(word: Word) -> bytes:
    assert type(word.sibling.payload) is Packed
    return bytes(word.sibling.payload)


class Room:
    """Three honest members, and one that signs and sends what it likes."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._walls = [Wall() for _ in HONEST]
        self.spaces = [verified_member(who, wall=wall) for who, wall in zip(HONEST, self._walls, strict=True)]
        self.liars = [Author(LIAR), Author(LIAR), Author(LIAR)]
        self.signed: dict[str, dict[tuple[Dot, object], Word]] = {key: {} for key in KEYS}
        self.written = 0

    def step(self, *, lies: bool) -> None:
        """Something happens at one of them."""
        self.written += 1
        at = self._rng.randint(0, 2)
        steps = [
            self._write,
            self._write,
            self._remove,
            self._transact,
            self._tell,
            self._tell,
            self._tell,
            self._forge,
            self._impersonate,
        ]
        if lies:
            steps += [self._lie, self._lie, self._lie_in_a_circle, self._equivocate, self._withhold, self._claim]
            steps += [self._move_clock]
        self._rng.choice(steps)(at)

    def everybody_compares(self) -> None:
        """Until nothing changes: everybody gives everybody all rows, as comparing does."""
        for _ in range(10):
            before = [raw(space) for space in self.spaces]
            for receiver in self.spaces:
                for sender in self.spaces:
                    hand(receiver, Block([], list(raw(sender).items())))
            if before == [raw(space) for space in self.spaces]:
                return
        raise AssertionError("ten comparisons of everybody with everybody did not end it")

    def note(self, key: str, sibling: Sibling, seen: Mapping[Origin, Stamp]) -> Word:
        word = Word(sibling, seen)
        self.signed[key][sibling.dot, sibling.payload] = word
        return word

    def held(self) -> dict[str, list[Word]]:
        """What honest members hold; fails if they hold what nobody has signed."""
        found: dict[str, list[Word]] = {key: [] for key in KEYS}
        for space in self.spaces:
            for key, row in raw(space).items():
                found[key] += [self.signed[key][sibling.dot, sibling.payload] for sibling in row.siblings]
        return found

    def _keys(self) -> str:
        return self._rng.choice(KEYS)

    def _written(self, at: int, keys: list[str], before: dict[str, Row]) -> None:
        for key in keys:
            (sibling,) = raw(self.spaces[at])[key].siblings
            seen = before.get(key, Row((), {})).context
            self.note(key, sibling, {o: s for o, s in seen.items() if o != sibling.dot.origin})

    def _write(self, at: int) -> None:
        key, before = self._keys(), raw(self.spaces[at])
        self.spaces[at].put(key, self.written)
        self._written(at, [key], before)

    def _remove(self, at: int) -> None:
        key, before = self._keys(), raw(self.spaces[at])
        if self.spaces[at].remove(key):
            assert not self.spaces[at].row(key).siblings
            self._written(at, [key], before)

    def _transact(self, at: int) -> None:
        before = raw(self.spaces[at])
        self.spaces[at].write([lambda _: [Op(key, REGISTER, self.written) for key in KEYS]])
        self._written(at, KEYS, before)

    def _tell(self, at: int) -> None:
        tell(self.spaces[at], self._rng.choice(self.spaces))

    def _move_clock(self, at: int) -> None:
        self._walls[at].now_ns += self._rng.choice([-(10**12), 10**9, 4 * 10**12])

    def _known_dots(self) -> list[Dot]:
        return [dot for words in self.signed.values() for dot, _ in words]

    def _lie(self, at: int) -> None:
        """A word whose author claims to have seen anything."""
        key, author = self._keys(), self._rng.choice(self.liars)
        claims: dict[Origin, Stamp] = {}
        others = [*self._known_dots(), *(Dot(Stamp(NOW + self.written), liar.origin) for liar in self.liars)]
        for stamp, origin in self._rng.choices(others, k=self._rng.randint(0, 3)):
            if origin != author.origin:
                claimed = Stamp(max(1, stamp + self._rng.choice([-1, 0, 10**6])))
                claims[origin] = max(claimed, claims.get(origin, claimed))
        value: Found = ABSENT if self._rng.random() < 0.5 else self.written
        when = NOW + self._rng.randint(0, 2 * self.written)
        word = self.note(key, author.word(key, value, when, claims), claims)
        hand(self.spaces[at], block_of(key, word))

    def _lie_in_a_circle(self, at: int) -> None:
        """Three words, each of which claims to have seen the next."""
        key, stamp, words = self._keys(), Stamp(NOW + self.written), list[Sibling]()
        for number, author in enumerate(self.liars):
            claims = {self.liars[(number + 1) % 3].origin: stamp}
            words.append(self.note(key, author.word(key, number, stamp, claims), claims).sibling)
        words.sort(key=lambda word: word.dot, reverse=True)
        hand(self.spaces[at], Block([], [(key, Row(tuple(words), {word.dot.origin: stamp for word in words}))]))

    def _equivocate(self, at: int) -> None:
        """Two payloads of one dot, each to somebody else."""
        key, author = self._keys(), self._rng.choice(self.liars)
        for receiver, value in ((at, "one"), ((at + 1) % 3, "other")):
            word = self.note(key, author.word(key, value, NOW + self.written), {})
            hand(self.spaces[receiver], block_of(key, word), [(author.origin, word.sibling.dot.stamp)])

    def _forge(self, at: int) -> None:
        """A word of somebody else's under another key or dot, with another value, or with a context that is made up."""
        words = [(key, word) for key, held in self.signed.items() for word in held.values()]
        if not words:
            return
        key, (sibling, seen) = self._rng.choice(words)
        (stamp, origin), kind, payload = sibling
        match self._rng.choice(["key", "stamp", "origin", "kind", "value", "seen", "context", "none"]):
            case "key":
                key = KEYS[(KEYS.index(key) + 1) % 3]
            case "stamp":
                stamp = Stamp(stamp + 1)
            case "origin":
                origin = self.liars[0].origin if origin != self.liars[0].origin else self.spaces[0].origin
            case "kind":
                kind = 3
            case "value":
                payload = "forged"
            case "seen":
                proof = _batch_proof.read(payload)
                assert proof is not None
                seen = {**seen, self.spaces[at].origin: Stamp(NOW + 10**9)}
                payload = _batch_proof._packed(proof._replace(seen=seen))
            case "context":
                seen = {**seen, self.spaces[at].origin: Stamp(NOW + 10**9)}
            case "none":
                hand(self.spaces[at], Block([], [(key, Row((), {self.spaces[at].origin: Stamp(NOW + 10**9)}))]))
                return
        hand(self.spaces[at], block_of(key, Word(Sibling(Dot(stamp, origin), kind, payload), seen)))

    def _impersonate(self, at: int) -> None:
        """The liar signs as somebody else."""
        key, author = self._keys(), Author(LIAR)
        author.origin = self.spaces[self._rng.randint(0, 2)].origin
        hand(self.spaces[at], block_of(key, Word(author.word(key, "forged", NOW + 10**9), {})))

    def _withhold(self, at: int) -> None:
        """Somebody says that everything known is applied here, and sends nothing."""
        hand(self.spaces[at], Block([], []), [(origin, stamp) for stamp, origin in self._known_dots()])

    def _claim(self, at: int) -> None:
        """Somebody says that everything was removed."""
        vector = VersionVector([(origin, stamp) for stamp, origin in self._known_dots()])
        try:
            hand(self.spaces[at], Block([], []), join=Join(vector, Floor()))
        except PeerProtocolError:
            return
        raise AssertionError("a snapshot join was taken")


def block_of(key: str, word: Word) -> Block:
    (dot, _, _), seen = word
    return Block([], [(key, Row((word.sibling,), {**seen, dot.origin: dot.stamp}))])


def played(seed: int, *, lies: bool) -> Room:
    """A room after some steps: the same for the same seed."""
    rng = random.Random(seed)
    salts = (bytes([number]) * _batch_proof.SALT_BYTES for number in range(256))
    with mock.patch("propagul.store._batch_proof.fresh_salt", side_effect=salts):
        room = Room(rng)
        for _ in range(rng.randint(5, 30)):
            room.step(lies=lies)
    return room


def play(seed: int) -> None:
    """One schedule with a liar: honest members agree, hold nothing that nobody signed, and lose no row.

    Raises:
        AssertionError: They do not.
    """
    room = played(seed, lies=True)
    before = room.held()
    room.everybody_compares()
    after = [raw(space) for space in room.spaces]
    assert after[1:] == after[:-1], "members differ"
    for key in KEYS:
        row = after[0].get(key, Row((), {}))
        words = [room.signed[key][s.dot, s.payload] for s in row.siblings]
        assert expected(words) == set(row.siblings), "one of these has seen another"
        assert {sibling.dot for sibling in row.siblings} <= {word.sibling.dot for word in before[key]}
        assert bool(row.siblings) == bool(before[key]), "a row has lost all of its words"
        assert [_seen_in(sibling) for sibling in row.siblings] == [word.seen for word in words], "a word has changed"


def play_honestly(seed: int) -> None:
    """One schedule in which forgeries are all that is hostile: told by vectors, everybody holds what no word had seen.

    Raises:
        AssertionError: Somebody does not.
    """
    room = played(seed, lies=False)
    for receiver in room.spaces * 3:
        for sender in room.spaces:
            tell(receiver, sender)
    after = [raw(space) for space in room.spaces]
    assert after[1:] == after[:-1], "members differ"
    for key, words in room.signed.items():
        assert set(after[0].get(key, Row((), {})).siblings) == expected(list(words.values())), (
            "a word came back or went"
        )


def _seen_in(sibling: Sibling) -> Mapping[Origin, Stamp]:
    proof = _batch_proof.read(sibling.payload)
    assert proof is not None
    return proof.seen


def main(first: int, count: int) -> int:
    """Play schedules; return 1 at the first that fails, having said how to replay it."""
    for seed in range(first, first + count):
        try:
            play(seed)
            play_honestly(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is that seed's
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            print(f"replay: python -m tests.store.verified_simulator {seed}", file=sys.stderr)
            return 1
    print(f"{count} schedules, 0 failures")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
