"""What of an item is embedded, and the user's function that does it, for programs with an event loop and without.

Every text is embedded once a batch, however many items hold it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from langgraph.store.base import ensure_embeddings, get_text_at_path, tokenize_path

from propagul_langgraph._memory.batch import check_fields
from propagul_langgraph._memory.vectors import as_vectors, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.embeddings import Embeddings
    from langgraph.store.base import IndexConfig, PutOp

    from propagul_langgraph._memory.batch import Batch
    from propagul_langgraph._memory.keys import Name
    from propagul_langgraph._memory.vectors import Vector

_SETTINGS: Final = frozenset({"dims", "embed", "fields"})
_WHOLE: Final = "$"


class _Wanted(NamedTuple):
    """What is to be embedded of a batch: queries, the texts of each item, and each of those once."""

    queries: list[str]
    texts: Mapping[Name, list[str]]
    distinct: list[str]


class Made(NamedTuple):
    """The vectors of an item, and of which texts they are: see `digest_of`."""

    digest: str = ""
    vectors: Sequence[Vector] = ()


class Embedded(NamedTuple):
    """What was embedded of a batch."""

    queries: Mapping[str, Vector]
    items: Mapping[Name, Made]


NOTHING: Final = Embedded({}, {})


class Index:
    """How a store makes vectors.

    Args:
        config: As LangGraph describes it: `dims`, `embed`, `fields`.

    Raises:
        ValueError: It has no `embed`, a setting of another name, or `dims` that are no number above 0.
        TypeError: `fields` is no list of texts.
    """

    def __init__(self, config: IndexConfig) -> None:
        if unknown := {name for name in config if not name.startswith("__")} - _SETTINGS:
            raise ValueError(f"index knows {', '.join(sorted(_SETTINGS))}, not {', '.join(sorted(unknown))}")
        self._dims = config.get("dims")
        if self._dims is not None and (type(self._dims) is not int or self._dims < 1):
            raise ValueError(f"dims is a number above 0, not {self._dims!r}")
        self.embeddings: Embeddings = ensure_embeddings(config.get("embed"))
        fields = config.get("fields") or [_WHOLE]
        check_fields("fields", fields)
        self._fields = _tokenized(fields)

    def embed(self, batch: Batch) -> Embedded:
        """Embed what is searched for and what is put.

        Raises:
            TypeError: An item is to be embedded whole, and JSON has no form for something in it.
            ValueError: What the function returned is no vectors.
        """
        wanted = self._wanted(batch)
        vectors = self.embeddings.embed_documents(wanted.distinct) if wanted.distinct else []
        return self._embedded(wanted, [self.embeddings.embed_query(query) for query in wanted.queries], vectors)

    async def aembed(self, batch: Batch) -> Embedded:
        """The same without holding up the event loop: a function that is not async runs in a thread."""
        wanted = self._wanted(batch)
        vectors = await self.embeddings.aembed_documents(wanted.distinct) if wanted.distinct else []
        return self._embedded(wanted, await asyncio.gather(*map(self.embeddings.aembed_query, wanted.queries)), vectors)

    def _wanted(self, batch: Batch) -> _Wanted:
        texts = {name: self._texts(op) for name, op in batch.puts.items()}
        distinct = dict.fromkeys(text for held in texts.values() for text in held)
        return _Wanted(list(dict.fromkeys(batch.queries)), texts, list(distinct))

    def _texts(self, op: PutOp) -> list[str]:
        """What is embedded of an item."""
        if op.value is None or op.index is False:
            return []
        fields = self._fields if op.index is None else _tokenized(op.index)
        try:
            return [text for tokens in fields for text in get_text_at_path(dict(op.value), tokens)]
        except TypeError as error:
            raise TypeError(f"the item {op.key!r} in {op.namespace!r} cannot be embedded: {error}") from error

    def _embedded(
        self, wanted: _Wanted, queries: Sequence[Sequence[float]], vectors: Sequence[Sequence[float]]
    ) -> Embedded:
        if len(vectors) != len(wanted.distinct):
            raise ValueError(f"the embedding function returned {len(vectors)} vectors for {len(wanted.distinct)} texts")
        of = dict(zip(wanted.distinct, as_vectors(vectors, self._dims), strict=True))
        items = {name: Made(digest_of(held), [of[text] for text in held]) for name, held in wanted.texts.items()}
        return Embedded(dict(zip(wanted.queries, as_vectors(queries, self._dims), strict=True)), items)


def _tokenized(fields: Iterable[str]) -> list[str | list[str]]:
    return [_WHOLE if field == _WHOLE else tokenize_path(field) for field in fields]
