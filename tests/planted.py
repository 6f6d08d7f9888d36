"""Planted bugs: a copy of the library with a text patch in it, and a simulator run against that copy.

A mutant is killed when a schedule fails with a line that replays it. One that survives means that the simulator has
gone blind to a bug it once saw; a patch that no longer applies must be written anew.
"""

from __future__ import annotations

import compileall
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """A planted bug and the first seed that kills it."""

    name: str
    file: str
    old: str
    new: str
    seed: int


def unharmed(file: str, text: str) -> Mutant:
    """A patch that changes nothing."""
    return Mutant("none", file, text, text, 0)


def run_mutant(mutant: Mutant, simulator: str, first: int, schedules: int, timeout_s: float) -> str:
    """Run schedules against a copy of the library with the bug in it; return the last line, empty if it survived.

    Args:
        mutant: The bug.
        simulator: The module that is run, such as `tests.gossip.simulator`.
        first: Its first seed.
        schedules: How many.
        timeout_s: A copy that takes longer hangs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        shutil.copytree(_compiled(), copy)
        patched = copy / "propagul" / mutant.file
        text = patched.read_text()
        assert text.count(mutant.old) == 1, f"the patch no longer applies to {mutant.file}: {mutant.old!r}"
        patched.write_text(text.replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", simulator, str(first), str(schedules)]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PROPAGUL_KERNEL": "off"}
        child = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        lines = child.stderr.strip().splitlines()
        return "" if child.returncode == 0 else lines[-1]


@functools.cache
def _compiled() -> Path:
    """A copy of the library and the simulators for this process, compiled: every mutant would compile all of it."""
    scratch = tempfile.TemporaryDirectory()
    _KEPT.append(scratch)
    copy, ignore = Path(scratch.name), shutil.ignore_patterns("__pycache__", "*.so")
    for part in ("propagul", "tests/gossip", "tests/state", "tests/store"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignore)
    compileall.compile_dir(copy, quiet=2)
    return copy


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when the process ends."""
