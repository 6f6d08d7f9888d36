"""Every example runs alone, soon, and prints what it says it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop.documents import runs_elsewhere

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DEADLINE_S = 60
"""What an example may take on a busy machine; each takes under a second on an idle one; with LangGraph three."""

SLOW = r"Executing <.*> took [\d.]+ seconds"
"""What asyncio says in Python's developer mode of a step that takes a tenth of a second, as any does under load."""

PRINTS = {
    "conflicts.py": [
        "cut off: paris says 'Ritz', tokyo says 'Ryokan'",
        "healed: both show 'Ryokan' and know of ['Ryokan', 'Ritz']",
        "resolved by paris: tokyo shows 'Ryokan then Ritz', conflicts []",
    ],
    "crash_recovery.py": [
        "first life:",
        "  starts, finds []",
        "  finished research",
        "  finished outline",
        "  killed",
        "second life:",
        "  starts, finds ['research', 'outline']",
        "  finished draft",
        "  finished review",
    ],
    "langgraph_crash.py": [
        "first life:",
        "  finds 0 messages",
        "  research: done",
        "  outline: done",
        "  draft: killed",
        "second life:",
        "  finds 3 messages",
        "  draft: done",
        "  review: done",
    ],
    "shared_work.py": [
        "in the room: ['ann', 'bob']",
        "cut off: ann works on 'find papers', bob works on 'find papers'",
        "healed: ann sees that it is ann's, and not bob's",
        "healed: bob sees that it is ann's, and not bob's",
        "lost: ann's False, bob's True",
        "bob finishes too: False, he has '12 papers'",
        "bob is gone, ann finds work: None",
        "missed for five seconds: ann takes over 'read papers', attempt 2",
    ],
    "two_machines.py": [
        "box2 recovered 1 row from box1: task is 'research'",
        "box1 sees task 'write'",
        "box1 is gone, with its memory",
        "box1 is back and has task 'write'",
    ],
    "watching.py": [
        " local  task/1 'todo'",
        "remote  task/1 'doing'",
        "remote  task/1 deleted",
        " local  task/2 'todo'",
    ],
}


def test_every_example_is_checked() -> None:
    here = {path.name for path in EXAMPLES.glob("*.py") if not runs_elsewhere(path.read_text(encoding="utf-8"))}
    assert here == set(PRINTS)


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_an_example_prints_what_a_reader_expects(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", str(EXAMPLES / name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert [line for line in done.stderr.splitlines() if not re.fullmatch(SLOW, line)] == []
    assert done.stdout.splitlines() == PRINTS[name]
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"
