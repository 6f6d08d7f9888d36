"""What the page on the OpenAI Agents SDK tells people to write does run, with a model that needs no network.

`tests/test_docs.py` runs what needs no model, as of every page: the blocks marked `python`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.agents.openai_agents.world import Counting, length
from tests.workshop.documents import blocks
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

AGENT = 'instructions="Answer in one line."'


def test_the_page_runs_as_one_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks("docs/openai-agents.md", "py", "python")
    assert len(found) == 3
    assert AGENT in found[0].code
    run_as_one_program(found, {"model": Counting(), "tool": length}, {AGENT: "model=model, tools=[tool]"})
    assert capsys.readouterr().out.splitlines() == ["31 letters", "25 letters"]
    assert (tmp_path / "sessions" / "log").is_dir()
