"""What the tests of items and cache entries share: stores, a clock that is set by hand, and an embedding of words."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from propagul_langgraph.store import PropagulStore

from propagul import AgentStateStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from langgraph.store.base import IndexConfig

DIMS = 16


class Clock:
    """Seconds since 1970, which pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def pass_minutes(self, minutes: float) -> None:
        self.seconds += 60 * minutes


class Embedder:
    """Embeds a text as the sum of a direction for each of its words; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        return [embed(text) for text in texts]


def embed(text: str) -> list[float]:
    """The sum of the directions of its words; alike everywhere."""
    words = [np.random.default_rng(zlib.crc32(word.encode())).normal(size=DIMS) for word in text.split()]
    return [float(number) for number in sum(words, np.zeros(DIMS))]


def by_words(embedder: Embedder | None = None, *fields: str) -> IndexConfig:
    """An index of these fields, or of `text`."""
    return {"dims": DIMS, "embed": embedder or Embedder(), "fields": list(fields) or ["text"]}


@contextlib.contextmanager
def opened(*, path: Path | None = None, **options: Any) -> Iterator[PropagulStore]:
    """Memory over a store that nobody else has."""
    with contextlib.closing(AgentStateStore("room", port=None, path=path)) as store:
        yield PropagulStore(store, **options)
