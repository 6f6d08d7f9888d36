"""Planted bugs: a copy of the library with a text patch in it, and a simulator run against that copy.

A mutant is killed when a schedule fails with a line that replays it. One that survives means that the simulator has
gone blind to a bug it once saw; a patch that no longer applies must be written anew.
"""

from __future__ import annotations

import compileall
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from propagul.crdt.twins import KERNEL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
RARE = -1
"""In place of a seed: `make test-all` searches many schedules for one that kills it."""


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


@contextlib.contextmanager
def planted(mutant: Mutant, *, tested: bool = False) -> Iterator[Path]:
    """A library with the bug in it, with the simulators beside it; only what must differ is copied.

    Args:
        mutant: The bug.
        tested: Tests are to run there: pytest wants files of its own.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy, whole = Path(scratch), _compiled()
        if tested:
            shutil.copytree(whole / "tests", copy / "tests")
        else:
            (copy / "tests").symlink_to(whole / "tests")
        _link(whole / "propagul", copy / "propagul", Path(mutant.file).parts)
        patched = copy / "propagul" / mutant.file
        text = (whole / "propagul" / mutant.file).read_text()
        assert text.count(mutant.old) == 1, f"the patch no longer applies to {mutant.file}: {mutant.old!r}"
        patched.write_text(text.replace(mutant.old, mutant.new))
        yield copy


def _link(whole: Path, copy: Path, way: tuple[str, ...]) -> None:
    """Make `copy` a directory of links to what is in `whole`, without the file to which `way` leads."""
    copy.mkdir()
    for part in whole.iterdir():
        if part.name != way[0]:
            (copy / part.name).symlink_to(part)
    if way[1:]:
        _link(whole / way[0], copy / way[0], way[1:])


def run_in(copy: Path, timeout_s: float, *module: str) -> subprocess.CompletedProcess[str]:
    """Run a module with these arguments in a copy; the bugs are planted in Python, so the kernel is off."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", KERNEL_VARIABLE: "off"}
    command = [sys.executable, "-m", *module]
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def run_mutant(mutant: Mutant, simulator: str, first: int, schedules: int, timeout_s: float) -> str:
    """Run schedules against the bug; return the last line, empty if it survived.

    Args:
        mutant: The bug.
        simulator: The module that is run, such as `tests.gossip.simulator`.
        first: Its first seed.
        schedules: How many.
        timeout_s: A copy that takes longer hangs.
    """
    with planted(mutant) as copy:
        child = run_in(copy, timeout_s, simulator, str(first), str(schedules))
        return "" if child.returncode == 0 else child.stderr.strip().splitlines()[-1]


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
