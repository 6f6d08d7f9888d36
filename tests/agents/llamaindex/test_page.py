"""What the page on LlamaIndex tells people to write does run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.workshop.documents import blocks
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = "docs/llamaindex.md"


def test_the_page_runs_as_one_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_as_one_program(blocks(PAGE, "python"), {}, {})
    assert (tmp_path / "documents" / "log").is_dir()
    assert (tmp_path / "chats" / "log").is_dir()
