"""What README, the page and the examples show of CrewAI runs, and does what they say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest
from crewai.agents.agent_builder import base_agent
from crewai.flow.persistence.base import _persistence_registry
from crewai.memory.storage import factory

from tests.agents.crewai.models import CountedModel
from tests.agents.crewai.test_memory import embed
from tests.workshop.documents import ROOT, blocks, runs_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCAL_MODEL = 'LLM(model="openai/llama3.2:3b", base_url="http://127.0.0.1:8787/v1", api_key="any")'
EXAMPLES = {
    "crew_takes_over.py": [
        "box1: the power is cut after 2 answers",
        "box2: goes on and asks for 1 more",
        "      All about moss. All about ferns. All about lichens.",
    ],
}
DEADLINE_S = 20
"""What an example may take on a busy machine, in a process that has imported CrewAI, which takes some seven seconds."""


class Model(CountedModel):
    """Knows one thing."""

    def call(self, *_: object, **__: object) -> str:
        """It."""
        return "Thought: I know it\nFinal Answer: moss is soft"


def run_blocks(page: str, **given: object) -> None:
    """Run the blocks of a page that need CrewAI, and those after the first of them, as one program."""
    code = blocks(page, "python")
    if page == "README.md":
        code = [block for block in code if runs_elsewhere(block.code)]
    assert code
    names = {"__name__": "__main__"} | given
    for block in code:
        source = "\n" * (block.line - 1) + block.code.replace(LOCAL_MODEL, "model")
        exec(compile(source, page, "exec", dont_inherit=True), names)


def test_the_flow_in_readme_counts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run_blocks("README.md")
    persistence = _persistence_registry["PropagulFlowPersistence"](conn_string="state/")
    assert persistence.load_state("daily") == {"id": "daily", "days": 2}
    persistence.close()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factory, "_factory", factory._factory)  # the page sets another one
    monkeypatch.setitem(base_agent._LLM_TYPE_REGISTRY, "counted", f"{Model.__module__}.{Model.__qualname__}")
    assert LOCAL_MODEL in (ROOT / "docs/crewai.md").read_text(encoding="utf-8")
    run_blocks("docs/crewai.md", model=Model(model="counted", calls=str(tmp_path / "calls")), embed=embed)
    assert "moss is soft" in capsys.readouterr().out
    assert not (tmp_path / "reports").exists(), "no checkpoint went into a directory"


def test_every_example_is_checked() -> None:
    examples = (ROOT / "examples").glob("*.py")
    assert {path.name for path in examples if "propagul_crewai" in path.read_text(encoding="utf-8")} == set(EXAMPLES)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_prints_what_a_reader_expects(name: str, tmp_path: Path, born: Callable[..., int]) -> None:
    printed, place = tmp_path / "printed", tmp_path / "place"
    place.mkdir()
    child = born("example", path=str(ROOT / "examples" / name), place=str(place), printed=str(printed))
    deadline = time.monotonic() + DEADLINE_S
    while psutil.pid_exists(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert printed.read_text().splitlines() == EXAMPLES[name]
    assert list(place.iterdir()) == [], "an example leaves nothing behind"
