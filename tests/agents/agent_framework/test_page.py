"""What the page on the Agent Framework tells people to write does run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.workshop.documents import blocks
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_page_runs_as_one_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    run_as_one_program(blocks("docs/agent-framework.md", "python"), names, {})
    assert names["latest"] is not None
    assert (tmp_path / "checkpoints" / "log").is_dir()
