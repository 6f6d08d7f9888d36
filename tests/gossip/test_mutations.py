"""The simulator finds planted bugs: each mutant of the library must fail within a bounded number of schedules.

A mutant is a text patch. The seed stored with it kills it today; where a change to the simulator moves its random
choices, the schedules behind it still have a chance. A survivor means that the simulator has gone blind to a bug it
once saw; a patch that no longer applies must be written anew. `python -m tests.gossip.test_mutations` finds the seeds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEDULES = 25
TIMEOUT_S = 60


class Mutant(NamedTuple):
    """A planted bug and the first seed that kills it."""

    name: str
    file: str
    old: str
    new: str
    seed: int


MUTANTS = [
    Mutant(
        "hidden siblings are not sent", "crdt/codec.py",
        "payload in row.siblings:", "payload in row.siblings[:1]:", 0,
    ),
    Mutant(
        "a context is not encoded", "crdt/codec.py",
        "if implied.get(origin) != stamp]", "if False]", 0,
    ),
    Mutant(
        "a delete mints no dot", "crdt/row.py",
        "return Row((), {**seen.context, dot.origin: dot.stamp})", "return Row((), dict(seen.context))", 0,
    ),
    Mutant(
        "a join keeps siblings the other side has superseded", "crdt/row.py",
        "if s.dot in offered or not theirs._has_seen(s.dot)]", "]", 0,
    ),
    Mutant(
        "a join takes back what was superseded here", "crdt/row.py",
        "if s.dot not in held and not ours._has_seen(s.dot)]", "if s.dot not in held]", 4,
    ),
    Mutant(
        "contexts are not joined", "crdt/row.py",
        "return Row(siblings, {**ours.context, **newer})", "return Row(siblings, dict(ours.context))", 0,
    ),
    Mutant(
        "the last writer wins by arrival", "crdt/row.py",
        "sorted(kept + taken, key=lambda sibling: sibling.dot, reverse=True)", "taken + kept", 0,
    ),
    Mutant(
        "a removal of a row never held is dropped", "crdt/replica.py",
        "if after is not before:", "if after is not before and (before.context or after.siblings):", 0,
    ),
    Mutant(
        "the vector is adopted from a digest, without its rows", "gossip/exchange.py",
        "self._unadopted.update(", "self._source.merge(b'', digest.entries) or self._unadopted.update(", 0,
    ),
    Mutant(
        "the vector is adopted without its last entry", "gossip/exchange.py",
        "bytes(stage.packed), stage.adopt.items())", "bytes(stage.packed), list(stage.adopt.items())[:-1])", 0,
    ),
    Mutant(
        "the place of a peer skips a change", "gossip/exchange.py",
        "self._place = cut.arrival\n", "self._place = cut.arrival + 1\n", 0,
    ),
    Mutant(
        "a new link does not serve what is older than itself", "gossip/exchange.py",
        "self._told = self._place = 0", "self._told, self._place = 0, source.arrival", 0,
    ),
    Mutant(
        "'same' is taken for the vector of now, not of the hello", "gossip/exchange.py",
        "self.theirs = self._hello_vector", "self.theirs = VersionVector(self._source.hello()[1])", 10,
    ),
    Mutant(
        "a push is taken for all that was told", "gossip/exchange.py",
        "dict(self._unadopted) if self._only is None else self._only", "dict(self._unadopted)", 0,
    ),
    Mutant(
        "a push claims its origin's newest stamp and sends the newest row only", "crdt/replica.py",
        "if row.context.get(self.origin, 0) > seen]", "if row.context.get(self.origin, 0) > seen][-1:]", 0,
    ),
    Mutant(
        "who lacks something does not ask", "gossip/exchange.py",
        "if not digest.rows_follow and self._stage is None and not self.caught_up:", "if False:", 0,
    ),
    Mutant(
        "news is not passed on", "gossip/node.py",
        "if exchange.peer_sent(message):", "if exchange.peer_sent(message) and False:", 0,
    ),
    Mutant(
        "a full disk is taken for success", "gossip/exchange.py",
        "        news = self._source.merge(bytes(stage.packed), stage.adopt.items())\n",
        "        try:\n            news = self._source.merge(bytes(stage.packed), stage.adopt.items())\n"
        "        except Exception:\n            news = False\n", 0,
    ),
]  # fmt: skip


def run_mutant(mutant: Mutant, first: int, schedules: int) -> str:
    """Run schedules against a copy of the library with the bug in it; return the last line, empty if it survived."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "propagul", copy / "propagul", ignore=ignore)
        shutil.copytree(ROOT / "tests" / "gossip", copy / "tests" / "gossip", ignore=ignore)
        patched = copy / "propagul" / mutant.file
        text = patched.read_text()
        assert text.count(mutant.old) == 1, f"the patch no longer applies to {mutant.file}: {mutant.old!r}"
        patched.write_text(text.replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", "tests.gossip.simulator", str(first), str(schedules)]
        environment = {**os.environ, "PYTHONPATH": scratch, "PYTHONDONTWRITEBYTECODE": "1"}
        child = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        lines = child.stderr.strip().splitlines()
        return "" if child.returncode == 0 else lines[-1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_simulator_kills(mutant: Mutant) -> None:
    last_line = run_mutant(mutant, mutant.seed, SCHEDULES)
    assert last_line, f"survived {SCHEDULES} schedules from seed {mutant.seed} on"
    assert last_line.startswith("replay: "), f"died of something else: {last_line}"


def test_the_library_as_it_is_survives_the_same_procedure() -> None:
    unharmed = Mutant("none", "crdt/row.py", "EMPTY = Row((), {})", "EMPTY = Row((), {})", 0)
    assert not run_mutant(unharmed, 0, 3)


if __name__ == "__main__":
    for mutant in MUTANTS:
        print(mutant.name, "|", run_mutant(mutant, 0, 400) or "SURVIVED")
