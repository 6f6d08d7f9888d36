"""A word and the batch it is of: what holds, what does not, and that nothing else is read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.crdt import ABSENT, Dot, Origin, Packed, Stamp
from propagul.link import Identity
from propagul.link.identity import public_bytes
from propagul.store._batch_proof import FIRST, HASH_BYTES, Leaf, Link, Place, fresh_salt, holds, origin_of, prove, read
from propagul.store._chains import BATCHES_MAX, ORIGINS_MAX, Chains

if TYPE_CHECKING:
    from propagul.crdt.payload import Found

AUTHOR, OTHER = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
SALT = fresh_salt()
ORIGIN = origin_of(public_bytes(AUTHOR.node), SALT)
BEFORE = Link(Stamp(50), b"h" * HASH_BYTES)
PLACE = Place("room", "space", Dot(Stamp(100), ORIGIN))
VALUES: list[Found] = [None, True, 7, -(2**63), 1.5, "text", b"bytes", Packed(msgpack.packb([1, {"a": 2}])), ABSENT]


def batch(writes: int) -> list[Leaf]:
    return [
        Leaf(f"key{n}", n % 5, {Origin(n + 1): Stamp(n + 9), Origin(3): Stamp(2)}, VALUES[n % len(VALUES)])
        for n in range(writes)
    ]


def proven(leaves: list[Leaf]) -> tuple[list[Packed], Link]:
    return prove(AUTHOR, SALT, PLACE, BEFORE, leaves)


@pytest.mark.parametrize("writes", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 256])
def test_every_word_of_a_batch_proves_itself_and_says_what_was_written(writes: int) -> None:
    leaves = batch(writes)
    payloads, link = proven(leaves)
    assert link.stamp == 100
    for leaf, payload in zip(leaves, payloads, strict=True):
        proof = read(payload)
        assert proof is not None
        assert holds(proof, leaf.key, leaf.kind, PLACE) == link
        assert (proof.seen, proof.value, type(proof.value)) == (leaf.seen, leaf.value, type(leaf.value))
        assert (proof.author, proof.before, proof.writes) == (public_bytes(AUTHOR.node), BEFORE, writes)


@pytest.mark.parametrize("writes", [1, 5, 8])
def test_a_word_holds_nowhere_else(writes: int) -> None:
    leaves = batch(writes)
    payloads, _ = proven(leaves)
    leaf, proof = leaves[-1], read(payloads[-1])
    assert proof is not None
    room, space, (stamp, origin) = PLACE
    places = [
        Place("other", space, PLACE.dot),
        Place(room, "other", PLACE.dot),
        Place(room, space, Dot(Stamp(stamp + 1), origin)),
        Place(room, space, Dot(stamp, Origin(origin ^ 1))),
    ]
    assert [holds(proof, leaf.key, leaf.kind, place) for place in places] == [None] * 4
    assert holds(proof, leaf.key + "x", leaf.kind, PLACE) is None
    assert holds(proof, leaf.key, leaf.kind + 1, PLACE) is None


@pytest.mark.parametrize(
    "change",
    [
        {"signature": bytes(64)},
        {"author": public_bytes(OTHER.node)},
        {"salt": bytes(8)},
        {"before": Link(Stamp(49), BEFORE.hash)},
        {"before": Link(Stamp(50), bytes(HASH_BYTES))},
        {"before": Link(Stamp(100), BEFORE.hash)},
        {"writes": 6},
        {"number": 1},
        {"number": 5},
        {"path": b""},
        {"path": bytes(3 * HASH_BYTES)},
        {"seen": {}},
        {"value": "another"},
        {"value": ABSENT},
    ],
)
def test_a_word_with_anything_changed_does_not_hold(change: dict[str, object]) -> None:
    leaves = batch(5)
    proof = read(proven(leaves)[0][2])
    assert proof is not None
    assert holds(proof, leaves[2].key, leaves[2].kind, PLACE) is not None
    assert holds(proof._replace(**change), leaves[2].key, leaves[2].kind, PLACE) is None  # type: ignore[arg-type]


def test_who_takes_anothers_origin_proves_nothing() -> None:
    (payload,), _ = prove(OTHER, SALT, PLACE, FIRST, [Leaf("key", 0, {}, 1)])
    proof = read(payload)
    assert proof is not None
    assert holds(proof, "key", 0, PLACE) is None


def test_a_word_that_claims_to_have_seen_its_own_origin_does_not_hold() -> None:
    """That says nothing, and would be a second form of one word."""
    (payload,), _ = prove(AUTHOR, SALT, PLACE, FIRST, [Leaf("key", 0, {ORIGIN: Stamp(3)}, 1)])
    proof = read(payload)
    assert proof is not None
    assert holds(proof, "key", 0, PLACE) is None


@given(st.data())
def test_one_word_has_one_form(data: st.DataObject) -> None:
    """Bytes that differ anywhere are another word, or none, and then not one that holds."""
    leaf = Leaf("key", 0, {Origin(4): Stamp(2), Origin(9): Stamp(1)}, "value")
    (payload,), link = prove(AUTHOR, SALT, PLACE, BEFORE, [leaf])
    changed = bytearray(payload)
    at = data.draw(st.integers(0, len(changed) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "grow"])):
        case "flip":
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del changed[at]
        case "grow":
            changed.insert(at, data.draw(st.integers(0, 255)))
    proof = read(Packed(changed)) if bytes(changed) != payload else None
    assert proof is None or holds(proof, "key", 0, PLACE) != link


@given(st.binary(max_size=300))
def test_any_bytes_are_a_word_or_none(content: bytes) -> None:
    assert read(Packed(msgpack.packb(msgpack.ExtType(5, content)))) is None
    assert read(Packed(content)) is None


def chained(chains: Chains, *batches: tuple[int, int, str, str]) -> list[bool]:
    """Batches of one origin: stamp before, stamp, names of what is before and of itself."""
    return [
        chains.fits(ORIGIN, Link(Stamp(before), was.encode()), Link(Stamp(stamp), name.encode()))
        for before, stamp, was, name in batches
    ]


@pytest.mark.parametrize(
    ("batches", "fits"),
    [
        ([(0, 1, "", "a"), (1, 2, "a", "b"), (2, 5, "b", "c")], [True, True, True]),
        ([(2, 5, "b", "c"), (0, 1, "", "a"), (1, 2, "a", "b")], [True, True, True]),
        ([(0, 1, "", "a"), (7, 9, "x", "z")], [True, True]),
        ([(0, 1, "", "a"), (0, 1, "", "a")], [True, True]),
        ([(0, 1, "", "a"), (0, 1, "", "b")], [True, False]),
        ([(0, 1, "", "a"), (1, 2, "b", "c")], [True, False]),
        ([(1, 2, "b", "c"), (0, 1, "", "a")], [True, False]),
        ([(0, 1, "", "a"), (0, 2, "", "b")], [True, False]),
        ([(0, 2, "", "b"), (0, 1, "", "a")], [True, False]),
        ([(1, 4, "a", "d"), (1, 3, "a", "c")], [True, False]),
    ],
)
def test_two_histories_of_one_origin_are_told_from_one(
    batches: list[tuple[int, int, str, str]], fits: list[bool]
) -> None:
    assert chained(Chains(), *batches) == fits


def test_chains_remember_the_newest_and_no_more() -> None:
    chains = Chains()
    assert all(chained(chains, *((n, n + 1, str(n), str(n + 1)) for n in range(BATCHES_MAX + 5))))
    assert chained(chains, (BATCHES_MAX + 3, BATCHES_MAX + 4, "?", "other")) == [False], "among the newest"
    for origin in range(ORIGINS_MAX + 5):
        assert chains.fits(Origin(origin + 1), FIRST, Link(Stamp(1), b"x"))
    assert len(chains._known) == ORIGINS_MAX
    assert all(len(held) <= BATCHES_MAX for held in chains._known.values())
