"""What the page on LangGraph tells people to write does run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul import AgentStateStore
from tests.test_readme import run_as_one_program
from tests.workshop.documents import blocks

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_python_on_the_page_runs_as_one_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("docs/langgraph.md", "python")
    names: dict[str, object] = {}
    run_as_one_program(found, names, {})
    assert len(found) == 4
    assert (tmp_path / "threads" / "log").is_dir()
    store = names["store"]
    assert isinstance(store, AgentStateStore)
    store.close()


def test_the_first_checkpoint_takes_ten_lines() -> None:
    first = blocks("docs/langgraph.md", "python")[0]
    assert len([line for line in first.code.splitlines() if line.strip()]) <= 10
