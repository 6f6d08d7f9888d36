"""The state simulator finds planted bugs: each mutant of the library fails within a bounded number of schedules.

`python -m tests.state.test_mutations` finds the seeds anew; with LONG_TESTS=1 the tests do the same search.
"""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.planted import Mutant, run_mutant, unharmed
from tests.state.mutants import MUTANTS
from tests.state.strangers import STRANGERS

SIMULATOR = "tests.state.simulator"
SCHEDULES, SCHEDULES_LONG = 40, 20_000
TIMEOUT_S, TIMEOUT_LONG_S = 60, 3600
PLANTED = [*MUTANTS, *STRANGERS]
IS_LONG = os.environ.get("LONG_TESTS") == "1"


@pytest.mark.parametrize("mutant", PLANTED, ids=[mutant.name for mutant in PLANTED])
def test_the_simulator_kills(mutant: Mutant) -> None:
    last_line = run_mutant(mutant, SIMULATOR, mutant.seed, SCHEDULES, TIMEOUT_S)
    assert last_line, f"survived {SCHEDULES} schedules from seed {mutant.seed} on"
    assert last_line.startswith("replay: "), f"died of something else: {last_line}"


if IS_LONG:  # part of `make test-all`, not a test that is skipped

    @pytest.mark.timeout(TIMEOUT_LONG_S)
    @pytest.mark.parametrize("mutant", PLANTED, ids=[mutant.name for mutant in PLANTED])
    def test_the_search_kills(mutant: Mutant) -> None:
        last_line = run_mutant(mutant, SIMULATOR, 0, SCHEDULES_LONG, TIMEOUT_LONG_S)
        assert last_line.startswith("replay: "), last_line or f"survived {SCHEDULES_LONG} schedules"


def test_the_library_as_it_is_survives_the_same_procedure() -> None:
    assert not run_mutant(unharmed("crdt/row.py", "EMPTY = Row((), {})"), SIMULATOR, 0, 3, TIMEOUT_S)


def main(names: list[str], schedules: int) -> None:
    """Print the first seed that kills each mutant."""
    for mutant in PLANTED:
        if not names or any(name in mutant.name for name in names):
            last_line = run_mutant(mutant, SIMULATOR, 0, schedules, TIMEOUT_LONG_S)
            found = re.search(r"simulator (\d+)$", last_line)
            print(f"{found[1] if found else last_line or 'SURVIVED':>8}  {mutant.name}", flush=True)


if __name__ == "__main__":
    main(
        [name for name in sys.argv[1:] if not name.isdigit()],
        int(next(filter(str.isdigit, sys.argv[1:]), SCHEDULES_LONG)),
    )
