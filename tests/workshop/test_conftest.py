"""The rules of tests/conftest.py hold: a session of pytest, run for real on small bad tests, says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.xdist_group("conftest")  # one worker, so that the bad session runs once

INI = "[pytest]\nfilterwarnings = error\nxfail_strict = true\nfaulthandler_timeout = 0.5\ntimeout = 60\n"


def run_pytest(place: Path, source: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `source` as a test file under the house's conftest."""
    shutil.copy(TESTS / "conftest.py", place / "conftest.py")
    (place / "pytest.ini").write_text(INI)
    (place / "test_sample.py").write_text(source)
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *arguments)
    env = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=place, env=env | environment, capture_output=True, text=True, timeout=60, check=False
    )


class Session(NamedTuple):
    """A session of pytest that is over."""

    place: Path
    result: subprocess.CompletedProcess[str]

    @property
    def output(self) -> str:
        """What it reported."""
        return self.result.stdout

    def says(self, outcome: str, test: str) -> bool:
        """Whether the summary gives `test` that outcome."""
        return f"{outcome} test_sample.py::{test}" in self.output


SKIPS = """
import pytest
def test_runs(): pass
@pytest.mark.skip(reason="no such tool here")
def test_skipped(): pass
"""

GROUPED = """
import pytest
pytestmark = pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(6))
def test_together(number): pass
"""

MISSING = "import pytest\npytest.importorskip('no_such_module')\n"

EXPECTED = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_known(): assert 1 == 2\n"

BAD = """
import asyncio, os, pathlib, subprocess, sys, time
import pytest

@pytest.fixture(scope="session")
def careless():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(602)"])
    pathlib.Path("careless").write_text(str(child.pid))
    child.returncode = 0

def test_uses_a_careless_fixture(careless):
    pass

def test_leaves_a_child():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path("child").write_text(str(child.pid))
    child.returncode = 0  # so that Popen does not warn: the rule alone must see it

def test_leaves_an_orphan():
    sleep = "import time; time.sleep(601)"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}])"
    subprocess.run([sys.executable, "-c", start])

def test_cleans_up():
    subprocess.run([sys.executable, "-c", ""])

async def fails():
    raise RuntimeError("nobody heard this")

def test_loses_an_exception():
    async def main():
        asyncio.create_task(fails())
        await asyncio.sleep(0.01)
    asyncio.run(main())

def test_hears_it():
    async def main():
        try:
            await asyncio.create_task(fails())
        except RuntimeError:
            pass
    asyncio.run(main())

def test_a_callback_fails():
    async def main():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)
    asyncio.run(main())

def test_sees_no_setting():
    assert "PROPAGUL_GOSSIP_SECRET" not in os.environ

@pytest.mark.timeout(2)
def test_hangs():
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "arguments", [pytest.param((), id="alone"), pytest.param(("-n", "1"), id="xdist", marks=pytest.mark.long)]
)
def test_in_ci_a_skip_fails_the_session(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "test_missing.py").write_text(MISSING)
    done = run_pytest(tmp_path, SKIPS, *arguments, CI="true")
    assert done.returncode == 1, done.stdout
    assert "2 NOT RUN: counts as FAILED in CI" in done.stdout
    assert "test_skipped: Skipped: no such tool here" in done.stdout
    assert "could not import 'no_such_module'" in done.stdout


def test_elsewhere_a_skip_is_loud_but_passes(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS)
    assert done.returncode == 0, done.stdout
    assert "1 NOT RUN: would fail in CI" in done.stdout


@pytest.mark.long
def test_a_group_of_tests_stays_in_one_worker(tmp_path: Path) -> None:
    """What a file's fixtures build is built once. If this fails, pytest is not one that pyproject.toml asks for."""
    done = run_pytest(tmp_path, GROUPED, "-v", "-n", "2", "--dist", "loadgroup")
    workers = re.findall(r"^\[(gw\d)\].* PASSED", done.stdout, re.MULTILINE)
    assert len(workers) == 6, done.stdout
    assert len(set(workers)) == 1


@pytest.mark.long
def test_how_many_tests_of_real_networks_did_not_run_is_said(tmp_path: Path) -> None:
    (tmp_path / "tests/network").mkdir(parents=True)
    (tmp_path / "tests/network/test_cut.py").write_text(SKIPS.replace("no such tool", "nft is not installed"))
    done = run_pytest(tmp_path, SKIPS, "-n", "1")
    assert "1 network tests did not run" in done.stdout
    assert "test_skipped: Skipped: nft is not installed here" in done.stdout
    assert "network tests" not in run_pytest(tmp_path, SKIPS, "test_sample.py").stdout


def test_in_ci_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, EXPECTED, CI="true")
    assert done.returncode == 0, done.stdout
    assert "NOT RUN" not in done.stdout


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One session of everything a test must not do."""
    place = tmp_path_factory.mktemp("bad")
    return Session(place, run_pytest(place, BAD, PROPAGUL_GOSSIP_SECRET="of-the-developer"))


def test_a_process_left_alive_is_killed_and_fails_its_test(bad: Session) -> None:
    assert "left running: " in bad.output
    assert bad.says("ERROR", "test_leaves_a_child")
    assert not psutil.pid_exists(int((bad.place / "child").read_text()))
    assert not bad.says("ERROR", "test_cleans_up")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a chosen process")
def test_an_orphan_is_killed_and_fails_the_test_that_made_it(bad: Session) -> None:
    assert bad.says("ERROR", "test_leaves_an_orphan")


def test_a_process_left_by_a_wider_fixture_is_killed_at_the_end(bad: Session) -> None:
    assert not psutil.pid_exists(int((bad.place / "careless").read_text()))
    assert bad.output.count("left running: ") >= 3
    assert bad.says("ERROR", "test_hangs"), "the last test answers for it"


def test_an_exception_nobody_retrieved_fails_its_test(bad: Session) -> None:
    assert "asyncio said: Task exception was never retrieved" in bad.output
    assert bad.says("ERROR", "test_loses_an_exception")
    assert bad.says("ERROR", "test_a_callback_fails")
    assert not bad.says("ERROR", "test_hears_it")


def test_a_hang_prints_its_stack_and_fails(bad: Session) -> None:
    assert "Timeout (0:00:00.5" in bad.result.stderr
    assert "in test_hangs" in bad.result.stderr
    assert bad.says("FAILED", "test_hangs")


def test_the_developers_own_settings_are_not_seen(bad: Session) -> None:
    assert bad.says("PASSED", "test_sees_no_setting")


def test_free_ports_differ(free_port: Callable[[], int]) -> None:
    assert len({free_port() for _ in range(5)}) == 5
