"""CrewAI as the tests here want it: silent, offline, imported once, with the warnings that are its own business.

Stores in memory, alone or two that are linked; and a nursery: a process that has imported CrewAI, which takes seconds,
and forks one child for each life of a program that a test ends by force. It is forked itself, from this one.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore

STORAGE = tempfile.TemporaryDirectory(prefix="propagul-crewai-")  # what CrewAI writes by itself
os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}
os.environ |= {"CREWAI_STORAGE_DIR": STORAGE.name, "CREWAI_DISABLE_VERSION_CHECK": "true"}

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from crewai.memory.storage.factory import set_memory_storage_factory
    from propagul_crewai import PropagulMemoryStorage

    from tests.agents.crewai.nursery import Nursery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

set_memory_storage_factory(lambda _: PropagulMemoryStorage("memory://"))  # every flow has one; CrewAI's takes seconds

SECRET = "a secret of thirty-two characters"


_nursery = Nursery()  # now, while this process has one thread and no store


def pytest_unconfigure() -> None:
    """End the nursery and remove what CrewAI wrote."""
    _nursery.close()
    STORAGE.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors here, too, but for those that CrewAI and what it stands on raise of their own."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for module in ("crewai", "pydantic", "chromadb"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:::{module}"))


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    """A store in memory, alone."""
    made = AgentStateStore("agents", port=None)
    made.start_background()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[AgentStateStore, AgentStateStore]]:
    """Two stores in memory, linked, as on two machines."""
    here = AgentStateStore("agents", "here", 0, "127.0.0.1", secret=SECRET)
    there = AgentStateStore("agents", "there", 0, "127.0.0.1", secret=SECRET)
    here.start_background()
    there.start_background([here.addresses[0]], require_peers=1)
    yield here, there
    there.close()
    here.close()


@pytest.fixture
def born() -> Callable[..., int]:
    """Begin a life of a program, which is a function of `lives.py`, in a process of its own; return its id."""
    return _nursery.bear
