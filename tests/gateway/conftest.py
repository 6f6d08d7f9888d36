"""Engines shared by the gateway's tests: starting one costs more than most tests do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import LlamaServer, llama_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def alpha() -> Iterator[LlamaServer]:
    """A quick model called `alpha`."""
    with llama_server("alpha", "alpha box speaking one two three") as server:
        yield server


@pytest.fixture(scope="session")
def slow() -> Iterator[LlamaServer]:
    """A slow model called `slow` that never ends by itself, with two slots."""
    with llama_server("slow", "slow words that never come to their end", slow=True) as server:
        yield server


@pytest.fixture(scope="session")
def embedder() -> Iterator[LlamaServer]:
    """An embedding model called `embed`."""
    with llama_server("embed", "one two three", embeddings=True) as server:
        yield server
