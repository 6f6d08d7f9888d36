"""What the page on the Agent Development Kit tells people to write does run, with a model that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.agents.adk.world import Echo, text_of
from tests.workshop.documents import blocks
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = "docs/adk.md"
MODEL = 'model="gemini-flash-latest"'


def test_the_page_runs_as_one_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"echo": Echo(model="echo")}
    assert MODEL in blocks(PAGE, "python")[0].code
    run_as_one_program(blocks(PAGE, "python"), names, {MODEL: "model=echo"})
    answer = names["answer"]
    assert isinstance(answer, list)
    assert [text_of(event) for event in answer] == ["1 heard, Hello last"]
