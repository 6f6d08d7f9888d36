"""The kernel as the tests have it: compiled from the source that is here, with every warning an error."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING

import pytest

import hatch_build
from propagul.crdt import twins
from propagul.crdt.table import INDEXED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from propagul.crdt.table import Table

STRICT = ("-Wall", "-Wextra", "-Werror", "-UNDEBUG", *shlex.split(os.environ.get("KERNEL_TEST_FLAGS", "")))


_PATIENCE_S = 120.0


def compiled(factory: pytest.TempPathFactory) -> Path:
    """The compiled kernel, once for all workers of a session; skips the test where there is no compiler."""
    if not shutil.which("cc"):
        pytest.skip("the kernel needs a C compiler")
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernel"
    try:
        place.mkdir()  # whoever makes it compiles
    except FileExistsError:
        deadline = time.monotonic() + _PATIENCE_S
        while not (place / "done").exists():
            assert time.monotonic() < deadline, "another worker did not compile the kernel in time"
            time.sleep(0.1)
    else:
        made = hatch_build.compile_kernel(place, STRICT)
        (place / "name").write_text(made.name)
        (place / "name").rename(place / "done")  # there with its content, or not there
    return place / (place / "done").read_text()


def load(path: str | Path) -> ModuleType:
    """Load a compiled kernel."""
    spec = importlib.util.spec_from_file_location("propagul._kernel", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["propagul._kernel"] = module
    spec.loader.exec_module(module)
    return module


def use(path: str) -> None:
    """In a process of its own: every store from here on uses this kernel."""
    module = load(path)
    vars(twins)["_found"] = lambda: module


@contextlib.contextmanager
def by(kernel: ModuleType | None) -> Iterator[None]:
    """Streams and logs are read by this kernel, or by Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(twins.KERNEL_VARIABLE, "auto")
        patch.setattr(twins, "_found", lambda: kernel)
        yield


def said_by(table: Table) -> list[object]:
    """Everything a table says, down to the order of arrival and of what is not plain."""
    size = len(table._keys)
    return [
        list(table.slots.items()),
        list(map(repr, table.values)),
        list(table._keys),
        *(list(column[:size]) for column in (table._stamps, table._origins, table._kinds, table._arrivals)),
        [(slot, repr(row)) for slot, row in table._special.items()],
        list(table._free),
        table.arrival,
        table._journal.since(0),
        list(table.keys_under("")),
        list(table.keys_under(INDEXED)),
    ]
