"""A value that proves who wrote it, in which batch, and what its author had seen of its row.

    payload = Packed(ext 5: signature, author, salt, hash before, stamp before, writes, number, path, seen, value?)
    leaf    = H(key, kind, seen, value?)            without a value it says that the row holds none any more
    batch   = label, [room, namespace, stamp, origin, stamp before, writes], hash before, root of the leaves

The signature is over the batch, so one serves all its rows; what is left of a batch when others have been overwritten
still proves itself, by its path. *Before* is the batch that its origin wrote before it: batches are a chain, and two
that claim one place in it are known for what they are (`_chains`). An origin is a hash of its author's key and a salt,
so nobody else can write with it. The rule of this file: whether a payload is proven is a function of it, its key, its
kind and its dot alone, and one write has one payload, byte for byte.

Hashes are BLAKE2b of 16 bytes; the tree is Merkle's, a node without a sister rises as it is.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from propagul.crdt import ABSENT, STAMP_MAX, Evicted, Origin, Packed, Stamp, codec
from propagul.crdt.payload import Absent
from propagul.crdt.wire import Reader, as_int, as_payload, extension_of, pack
from propagul.errors import PeerProtocolError
from propagul.link.identity import node_id, public_bytes, verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from propagul.crdt import Dot, Found, Payload
    from propagul.link import Identity

HASH_BYTES: Final = 16
SALT_BYTES: Final = 8

_LABEL: Final = b"propagul batch 1\n"
_PROVEN: Final = 5
_FIELDS_AT: Final = tuple(accumulate((64, 32, SALT_BYTES, HASH_BYTES), initial=0))
"""Where signature, author, salt and the hash before stand, and where the rest begins."""

_WRITES_MAX: Final = 2**24
_SEEN_MAX: Final = 2**17


class Link(NamedTuple):
    """A batch as a link of its origin's chain.

    Attributes:
        stamp: Its stamp; 0 for what is before the first.
        hash: Of what is signed.
    """

    stamp: Stamp
    hash: bytes


FIRST: Final = Link(Stamp(0), bytes(HASH_BYTES))
"""Before the first batch of an origin."""


class Place(NamedTuple):
    """Where a batch was written."""

    room: str
    space: str
    dot: Dot


class Leaf(NamedTuple):
    """One write of a batch.

    Attributes:
        key: Its key.
        kind: The kind of its row.
        seen: What the author had seen of the row beside its own origin's writes: for each origin the highest stamp.
        value: What it wrote; ABSENT if it removed what was there.
    """

    key: str
    kind: int
    seen: Mapping[Origin, Stamp]
    value: Found


class Proof(NamedTuple):
    """What a proven payload says. Whether that is so is another question: `holds`.

    Attributes:
        signature: The author's, over the batch.
        author: The author's public key.
        salt: What its origin was made with.
        before: The batch before, as the author says.
        writes: How many the batch has.
        number: Which of them this is.
        path: The hashes that lead from its leaf to the root.
        seen: See `Leaf`.
        value: See `Leaf`.
    """

    signature: bytes
    author: bytes
    salt: bytes
    before: Link
    writes: int
    number: int
    path: bytes
    seen: Mapping[Origin, Stamp]
    value: Found


def fresh_salt() -> bytes:
    """What makes an origin that its author never had before."""
    return secrets.token_bytes(SALT_BYTES)


def origin_of(author: bytes, salt: bytes) -> Origin:
    """The origin that an author, by its public key, makes with a salt."""
    named = hashlib.blake2b(author + salt, digest_size=8, person=b"propagul origin").digest()
    return Origin(int.from_bytes(named) or 1)


def prove(
    identity: Identity, salt: bytes, place: Place, before: Link, leaves: Sequence[Leaf]
) -> tuple[list[Packed], Link]:
    """The payloads of a batch of at least one write, in order, and the batch as a link of the chain.

    Args:
        identity: Who writes.
        salt: What the origin was made with.
        place: Where.
        before: The batch before it.
        leaves: The writes, each of another key.
    """
    levels = _levels([_leaf(*leaf) for leaf in leaves])
    message = _message(place, before, len(leaves), levels[-1][0])
    signature, author = identity.sign(message), public_bytes(identity.node)
    payloads = [
        _packed(Proof(signature, author, salt, before, len(leaves), index, _path(levels, index), leaf.seen, leaf.value))
        for index, leaf in enumerate(leaves)
    ]
    return payloads, Link(place.dot.stamp, _hash(message))


def read(payload: Payload) -> Proof | None:
    """What a payload says; None if it is no proven value."""
    if isinstance(payload, Evicted):
        payload = payload.read()
    if type(payload) is not Packed or extension_of(payload) != _PROVEN:
        return None
    try:
        proof = _unpacked(msgpack.unpackb(payload).data)
    except (PeerProtocolError, ValueError, msgpack.UnpackException):
        return None
    return proof if _packed(proof) == payload else None


def holds(proof: Proof, key: str, kind: int, place: Place) -> Link | None:
    """The batch that a proof is of, if its author wrote this there: this key, kind, value and dot; else None."""
    origin, stamp = place.dot.origin, place.dot.stamp
    if origin_of(proof.author, proof.salt) != origin or origin in proof.seen or proof.before.stamp >= stamp:
        return None
    root = _root(_leaf(key, kind, proof.seen, proof.value), proof)
    if root is None:
        return None
    message = _message(place, proof.before, proof.writes, root)
    return Link(stamp, _hash(message)) if _is_signed(node_id(proof.author), proof.signature, message) else None


_is_signed = functools.lru_cache(maxsize=4096)(verify)
"""Kept, because one signature serves all rows of a batch."""


# --- bytes -------------------------------------------------------------------------------------------------------


def _packed(proof: Proof) -> Packed:
    stamp, before = proof.before
    fixed = proof.signature + proof.author + proof.salt + before
    placed = pack(stamp) + pack(proof.writes) + pack(proof.number) + pack(proof.path)
    return Packed(msgpack.packb(msgpack.ExtType(_PROVEN, fixed + placed + _body(proof.seen, proof.value))))


def _unpacked(content: bytes) -> Proof:
    signature, author, salt, before = (content[start:end] for start, end in pairwise(_FIELDS_AT))
    reader = Reader(content[_FIELDS_AT[-1] :])
    stamp, writes, number = (as_int(reader.scalar(), most) for most in (STAMP_MAX, _WRITES_MAX, _WRITES_MAX))
    path = reader.scalar()
    if type(path) is not bytes or len(before) != HASH_BYTES:
        raise PeerProtocolError("not a proven value")
    seen = dict(codec.unflatten(reader.column(_SEEN_MAX)))
    value = ABSENT if reader.at_end else as_payload(reader.scalar())
    if not reader.at_end:
        raise PeerProtocolError("a proven value is longer than it says")
    return Proof(signature, author, salt, Link(Stamp(stamp), before), writes, number, path, seen, value)


def _body(seen: Mapping[Origin, Stamp], value: Found) -> bytes:
    return pack(codec.flatten(sorted(seen.items()))) + (b"" if isinstance(value, Absent) else pack(value))


def _message(place: Place, before: Link, writes: int, root: bytes) -> bytes:
    room, space, (stamp, origin) = place
    return _LABEL + pack([room, space, stamp, origin, before.stamp, writes]) + before.hash + root


# --- the tree ----------------------------------------------------------------------------------------------------


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=HASH_BYTES).digest()


def _leaf(key: str, kind: int, seen: Mapping[Origin, Stamp], value: Found) -> bytes:
    return _hash(b"\0" + pack([key, kind]) + _body(seen, value))


def _parent(left: bytes, right: bytes) -> bytes:
    return _hash(b"\1" + left + right)


def _levels(leaves: list[bytes]) -> list[list[bytes]]:
    """The nodes of a tree: its leaves, then each level above, and last its root."""
    levels = [leaves]
    while len(below := levels[-1]) > 1:
        pairs = zip(below[::2], below[1::2], strict=False)
        levels.append([_parent(left, right) for left, right in pairs] + below[len(below) & ~1 :])
    return levels


def _path(levels: list[list[bytes]], index: int) -> bytes:
    """The sisters of a leaf and of the nodes above it."""
    path = b""
    for level in levels[:-1]:
        path += b"".join(level[index ^ 1 : (index ^ 1) + 1])
        index //= 2
    return path


def _root(node: bytes, proof: Proof) -> bytes | None:
    """The root that a leaf and the path of its proof lead to; None if it is no path of such a tree."""
    index, width, path = proof.number, proof.writes, proof.path
    if index >= width:
        return None
    while width > 1:
        if index ^ 1 < width:
            sister, path = path[:HASH_BYTES], path[HASH_BYTES:]
            node = _parent(sister, node) if index & 1 else _parent(node, sister)
        index, width = index // 2, (width + 1) // 2
    return None if path else node
