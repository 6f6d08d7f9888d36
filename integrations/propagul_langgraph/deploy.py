"""For `langgraph.json`: `"checkpointer": {"path": "propagul_langgraph:create_checkpointer"}`."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from propagul_langgraph.saver import PropagulSaver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VARIABLE: Final = "LANGGRAPH_PROPAGUL"
"""Which variable names the store of a server's threads, as `from_conn_string` takes it."""
DIRECTORY: Final = "propagul-threads/"
"""Where they are otherwise."""


@asynccontextmanager
async def create_checkpointer() -> AsyncIterator[PropagulSaver]:
    """A saver that is open for as long as the server runs."""
    async with PropagulSaver.from_conn_string(os.environ.get(VARIABLE) or DIRECTORY) as saver:
        yield saver
