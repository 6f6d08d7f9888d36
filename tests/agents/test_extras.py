"""An adapter that is imported without its framework says what to install, in one line; and takes ten to begin with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workshop.documents import ROOT, blocks


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [
        ("propagul_langgraph", "langgraph.checkpoint.base", "langgraph"),
        ("propagul_crewai", "crewai", "crewai"),
        ("propagul_openai_agents", "agents", "openai-agents"),
        ("propagul_adk", "google.adk", "adk"),
        ("propagul_agent_framework", "agent_framework", "agent-framework"),
        ("propagul_llamaindex", "llama_index.core", "llamaindex"),
    ],
)
def test_without_its_framework_an_adapter_names_the_extra(package: str, framework: str, extra: str) -> None:
    code = f"import sys; sys.modules[{framework!r}] = None; import {package}"
    command = (sys.executable, "-c", code)
    done = subprocess.run(command, cwd=ROOT / "integrations", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'pip install "propagul[{extra}]>=1"' in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("framework", ["langgraph", "crewai", "openai-agents", "adk", "llamaindex"])
def test_the_first_program_takes_ten_lines(framework: str) -> None:
    first = blocks(f"docs/{framework}.md", "py", "python")[0]
    assert len([line for line in first.code.splitlines() if line.strip()]) <= 10
