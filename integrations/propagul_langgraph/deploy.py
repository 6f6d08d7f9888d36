"""For `langgraph.json`: `"checkpointer": {"path": "propagul_langgraph:create_checkpointer"}`, and `create_store`."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from propagul_langgraph.saver import PropagulSaver
from propagul_langgraph.store import PropagulStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VARIABLE: Final = "LANGGRAPH_PROPAGUL"
"""Which variable names where a server's threads and memory are, as `from_conn_string` takes it."""
DIRECTORY: Final = "propagul-threads/"
"""Where they are otherwise."""


@asynccontextmanager
async def create_checkpointer() -> AsyncIterator[PropagulSaver]:
    """A saver that is open for as long as the server runs."""
    async with PropagulSaver.from_conn_string(os.environ.get(VARIABLE) or DIRECTORY) as saver:
        yield saver


@asynccontextmanager
async def create_store() -> AsyncIterator[PropagulStore]:
    """A store without vectors that is open for as long as the server runs, in the same place as the saver's."""
    async with PropagulStore.from_conn_string(os.environ.get(VARIABLE) or DIRECTORY) as store:
        yield store
