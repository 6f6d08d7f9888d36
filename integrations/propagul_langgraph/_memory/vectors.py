"""Vectors of items: which texts of a value are embedded, how vectors are stored, and how near they are to a query.

A row holds the vectors of one item as `<f4` after a head of twelve bytes: which texts they were made of (a digest) and
how many dimensions they have. The item's own row names the same digest, so that vectors which another value left
behind, or which arrived before their item did, are never taken for its own. More than 256 KiB go on in further rows.
The digest is of the texts and not of the vectors: replicas that put the same value agree, whoever embedded it.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from itertools import count, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard

import numpy as np

from propagul_langgraph._memory.keys import prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from propagul import AgentStateStore

    Vector = NDArray[np.float32]

_HEAD: Final = struct.Struct("<8sI")
_ROW_BYTES_MAX: Final = 256 * 1024
_BLOCK_ROWS: Final = 256
"""So many rows are compared at once: what they take stays in the processor's cache, whatever is searched."""


class Near(NamedTuple):
    """How near an item is to a query.

    Attributes:
        score: Cosine of the nearest of its vectors.
        path: The item's.
        digest: Of the texts the vectors were made of.
    """

    score: float
    path: str
    digest: str


class Vectors:
    """The rows of all vectors of a store.

    Args:
        store: Where they are.
        root: How all keys begin.
    """

    def __init__(self, store: AgentStateStore, root: str) -> None:
        self._store, self._prefix = store, f"{root}v/"

    def put(self, path: str, digest: str, vectors: Sequence[Vector]) -> None:
        """Write the vectors of an item in place of those it has."""
        dims = len(vectors[0])
        head, at_once = _HEAD.pack(bytes.fromhex(digest), dims), max(1, _ROW_BYTES_MAX // (4 * dims))
        for number, start in enumerate(range(0, len(vectors), at_once)):
            body = np.asarray(vectors[start : start + at_once], dtype="<f4").tobytes()
            self._store.set(f"{self._prefix}{path}#{number}" if number else self._prefix + path, head + body)
        self._drop_more(path, -(-len(vectors) // at_once))

    def drop(self, path: str) -> None:
        """Remove the vectors of an item."""
        if (key := self._prefix + path) in self._store:
            self._store.delete(key)
            self._drop_more(path, 1)

    def nearest(self, namespace: tuple[str, ...], query: Vector) -> Iterator[Near]:
        """Everything in a namespace and below it that has vectors, the nearest to the query first. O(found).

        An item may come again, with a lower score, or with vectors that are not of its value.
        """
        keys: list[str] = []
        digests: list[bytes] = []
        scores = [np.empty(0, np.float32)]
        rows: list[bytes] = []
        for key, value in self._store.items(self._prefix + prefix_of(namespace)):
            if _is_of(value, len(query)):
                keys.append(key)
                digests.append(value[:8])
                rows.append(value)
            if len(rows) == _BLOCK_ROWS:
                scores.append(_best(rows, query))
                rows.clear()
        scored = np.concatenate([*scores, _best(rows, query)])
        skip = len(self._prefix)
        for place in np.argsort(-scored, kind="stable"):
            yield Near(float(scored[place]), keys[place][skip:].partition("#")[0], digests[place].hex())

    def _drop_more(self, path: str, kept: int) -> None:
        """Remove rows beyond the first so many."""
        further = (f"{self._prefix}{path}#{number}" for number in count(kept))
        for key in takewhile(self._store.__contains__, further):
            self._store.delete(key)


def digest_of(texts: Sequence[str]) -> str:
    """A name for texts in their order; empty for none."""
    if not texts:
        return ""
    digest = blake2b(digest_size=8)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _best(rows: Sequence[bytes], query: Vector) -> Vector:
    """The best cosine in each row."""
    if not rows:
        return np.empty(0, np.float32)
    matrix = np.frombuffer(b"".join([row[_HEAD.size :] for row in rows]), dtype="<f4").reshape(-1, len(query))
    scores = _cosines(matrix, query)
    if len(scores) == len(rows):
        return scores
    return np.maximum.reduceat(scores, np.cumsum([0, *(len(row) // (4 * len(query)) for row in rows[:-1])]))


def _cosines(matrix: NDArray[np.float32], query: Vector) -> NDArray[np.float32]:
    """The cosine of each row with the query: 0 where one of them has no length, -1 where a row holds no number."""
    with np.errstate(all="ignore"):  # rows come from other machines and may hold anything
        lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix)) * np.linalg.norm(query)
        dots = matrix @ query
        scores = np.zeros_like(dots)
        np.divide(dots, lengths, out=scores, where=lengths != 0)
    scores[np.isnan(scores)] = -1.0
    return scores


def _is_of(value: object, dims: int) -> TypeGuard[bytes]:
    """Whether a row holds vectors of so many dimensions."""
    if type(value) is not bytes or len(value) <= _HEAD.size or (len(value) - _HEAD.size) % (4 * dims):
        return False
    return bool(_HEAD.unpack_from(value)[1] == dims)


def as_vectors(embedded: Iterable[Sequence[float]], dims: int | None) -> list[Vector]:
    """What an embedding function returned; without `dims`, as many numbers each as the first of them has.

    Raises:
        ValueError: It is no vectors of so many finite numbers.
    """
    vectors: list[Vector] = []
    for vector in embedded:
        with np.errstate(over="ignore"):
            array = np.asarray(vector, dtype=np.float32)
        if array.ndim != 1 or not array.size or (dims is not None and array.size != dims):
            raise ValueError(f"the embedding function returned a vector of shape {array.shape}, not of {dims} numbers")
        if not np.isfinite(array).all():
            raise ValueError("the embedding function returned a vector with NaN or an infinity in it")
        dims = array.size
        vectors.append(array)
    return vectors
