"""Tests of what is declared are not blind: for each planted bug, the test that is named with it fails.

The bug is written into the text of one file, and `fleet_app` is imported afresh from there, in memory. A mutant that
survives means that a test has lost its point; a patch that no longer applies must be written anew.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.desired.mutants import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]
ALONE = (
    *("-q", "-x", "--noconftest", "--import-mode=importlib", "-c", os.devnull, "--rootdir", str(ROOT)),
    *("-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:timeout", "-p", "no:xdist"),
    *("-p", "no:unraisableexception", "-p", "no:threadexception"),
)
"""A session of pytest inside another."""


class Planter(SourceFileLoader):
    """Finds and loads the one module with the bug in it."""

    def __init__(self, mutant: Mutant) -> None:
        module = "fleet_app." + mutant.file.removesuffix(".py").replace("/", ".")
        super().__init__(module, str(ROOT / "fleet_app" / mutant.file))
        text = Path(self.path).read_text()
        assert text.count(mutant.old) == 1, f"the patch no longer applies to {mutant.file}: {mutant.old!r}"
        self._text = text.replace(mutant.old, mutant.new)

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, _fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec", dont_inherit=True)


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """`fleet_app` and its tests are not imported yet, and will be with the bug."""
    planter, before = Planter(mutant), _taken_out()
    sys.meta_path.insert(0, planter)
    try:
        yield
    finally:
        sys.meta_path.remove(planter)
        _taken_out()
        sys.modules.update(before)


def _taken_out() -> dict[str, ModuleType]:
    """Take what may have the bug in it out of the modules that are imported."""
    names = [name for name in sys.modules if name.partition(".")[0] in {"fleet_app", "tests"}]
    return {name: sys.modules.pop(name) for name in names}


def outcome(mutant: Mutant, *tests: str) -> int:
    """How these tests end with the bug."""
    with planted(mutant):
        return pytest.main([*ALONE, *(str(ROOT / "tests" / test) for test in tests)])


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    assert outcome(mutant, mutant.killer) == pytest.ExitCode.TESTS_FAILED, f"survived {mutant.killer}"


def test_the_code_as_it_is_survives_the_same_procedure() -> None:
    harmless = Mutant("none", "desired/edits.py", "CHANGES_KEPT: Final = 1000", "CHANGES_KEPT: Final = 1000", "")
    assert outcome(harmless, *sorted({mutant.killer for mutant in MUTANTS})) == pytest.ExitCode.OK
