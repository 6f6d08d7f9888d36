"""What of an item is embedded, and the user's function that does it, for programs with an event loop and without.

Every text is embedded once a batch, however many items hold it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from langgraph.store.base import ensure_embeddings, get_text_at_path, tokenize_path

from propagul_langgraph._vectors import as_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.embeddings import Embeddings
    from langgraph.store.base import IndexConfig, PutOp

    from propagul_langgraph._vectors import Vector

_SETTINGS: Final = frozenset({"dims", "embed", "fields"})
_WHOLE: Final = "$"


class Embedded(NamedTuple):
    """The vectors of a batch, by what they were made of."""

    queries: Mapping[str, Vector]
    texts: Mapping[str, Vector]


NOTHING: Final = Embedded({}, {})


class Index:
    """How a store makes vectors.

    Args:
        config: As LangGraph describes it: `dims`, `embed`, `fields`.

    Raises:
        ValueError: It has no `embed`, a setting of another name, or `dims` that are no number above 0.
    """

    def __init__(self, config: IndexConfig) -> None:
        if unknown := {name for name in config if not name.startswith("__")} - _SETTINGS:
            raise ValueError(f"index knows {', '.join(sorted(_SETTINGS))}, not {', '.join(sorted(unknown))}")
        self._dims = config.get("dims")
        if self._dims is not None and (type(self._dims) is not int or self._dims < 1):
            raise ValueError(f"dims is a number above 0, not {self._dims!r}")
        self.embeddings: Embeddings = ensure_embeddings(config.get("embed"))
        self._fields = _tokenized(config.get("fields") or [_WHOLE])

    def texts(self, op: PutOp) -> list[str]:
        """What is embedded of an item.

        Raises:
            TypeError: It is to be embedded whole, and JSON has no form for something in it.
        """
        if op.value is None or op.index is False:
            return []
        fields = self._fields if op.index is None else _tokenized(op.index)
        try:
            return [text for tokens in fields for text in get_text_at_path(dict(op.value), tokens)]
        except TypeError as error:
            raise TypeError(f"the item {op.key!r} in {op.namespace!r} cannot be embedded: {error}") from error

    def embed(self, queries: Iterable[str], texts: Iterable[str]) -> Embedded:
        """Embed queries and texts."""
        asked, held = list(dict.fromkeys(queries)), list(dict.fromkeys(texts))
        vectors = self.embeddings.embed_documents(held) if held else []
        return self._embedded(asked, [self.embeddings.embed_query(query) for query in asked], held, vectors)

    async def aembed(self, queries: Iterable[str], texts: Iterable[str]) -> Embedded:
        """The same without holding up the event loop: a function that is not async runs in a thread."""
        asked, held = list(dict.fromkeys(queries)), list(dict.fromkeys(texts))
        vectors = await self.embeddings.aembed_documents(held) if held else []
        found = await asyncio.gather(*map(self.embeddings.aembed_query, asked))
        return self._embedded(asked, found, held, vectors)

    def _embedded(
        self,
        queries: Sequence[str],
        found: Sequence[Sequence[float]],
        texts: Sequence[str],
        vectors: Sequence[Sequence[float]],
    ) -> Embedded:
        if len(vectors) != len(texts):
            raise ValueError(f"the embedding function returned {len(vectors)} vectors for {len(texts)} texts")
        of_queries, of_texts = as_vectors(found, self._dims), as_vectors(vectors, self._dims)
        return Embedded(dict(zip(queries, of_queries, strict=True)), dict(zip(texts, of_texts, strict=True)))


def _tokenized(fields: Iterable[str]) -> list[str | list[str]]:
    return [_WHOLE if field == _WHOLE else tokenize_path(field) for field in fields]
