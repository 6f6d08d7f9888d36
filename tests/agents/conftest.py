"""Each framework's tests are collected only in the environment that holds it: `AGENTS` in scripts/setup.py says which.

Elsewhere they are not there at all, rather than skipped: a skip would count as a failure, and what is green would say
nothing. `tests/workshop/test_environments.py` checks that every directory runs somewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore
from scripts.setup import AGENTS, LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def is_at_home(framework: str, environment: str) -> bool:
    """Whether a framework's tests run in the environment of that directory."""
    own = {LEVELS[level].directory for level in AGENTS.values()}
    return environment == LEVELS[AGENTS[framework]].directory if framework in AGENTS else environment not in own


collect_ignore = [
    entry.name for entry in HERE.iterdir() if entry.is_dir() and not is_at_home(entry.name, Path(sys.prefix).name)
]


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    """A store in memory, alone."""
    with_nobody = AgentStateStore("room", port=None)
    yield with_nobody
    with_nobody.close()
