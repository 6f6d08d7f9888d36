"""No test of an agent framework falls between the environments: `make` runs each of them in the one that holds it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.setup import AGENTS, LEVELS
from tests.workshop.documents import ROOT

IN_MAKE_TEST = {"crewai"}
"""Whose tests `make test` runs, of those that stand in an environment of their own; `make test-all` runs all."""


def recipe(target: str) -> list[str]:
    """What `make` would run."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(("make", "-n", target), cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("framework", sorted(AGENTS))
def test_what_has_an_environment_of_its_own_has_tests(framework: str) -> None:
    assert list((ROOT / "tests/agents" / framework).glob("test_*.py"))


@pytest.mark.parametrize("target", ["test", "test-all"])
def test_make_runs_the_tests_of_a_framework_in_the_environment_that_holds_it(target: str) -> None:
    lines = recipe(target)
    for name, level in AGENTS.items():
        if target == "test" and name not in IN_MAKE_TEST:
            continue
        made = next(place for place, line in enumerate(lines) if line.endswith(f"scripts/setup.py {level}"))
        python = f"{LEVELS[level].directory}/bin/python -m pytest"
        runs = [place for place, line in enumerate(lines) if python in line and f"tests/agents/{name}" in line.split()]
        assert runs, f"make {target} does not run tests/agents/{name}"
        assert made < runs[0]
    assert any(".venv/bin/python -m pytest" in line and "tests/" not in line for line in lines), "the rest, whole"


@pytest.mark.parametrize(("environment", "collected"), [(".venv", False), (".venv-crewai", True)])
def test_tests_are_collected_where_their_framework_is_and_nowhere_else(environment: str, collected: bool) -> None:  # noqa: FBT001 - a case
    code = (
        f"import sys, runpy; sys.prefix = '/somewhere/{environment}'; "
        "print('crewai' not in runpy.run_path('tests/agents/conftest.py')['collect_ignore'])"
    )
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run((sys.executable, "-c", code), cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{collected}\n"
