"""What holds for every test of the house.

A test leaves no process behind and loses no message of asyncio; it sees none of the developer's own settings; a hang
prints every stack (`faulthandler_timeout`, `timeout` in pyproject.toml). A test skipped for want of a tool is named
loudly at the end, and counts as failed where `CI=true`: what was not run was not shown. Warnings are errors.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import random
import signal
import socket
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
EXIT_GRACE_S = 2.0
"""How long a process that a test has already told to end may take to be gone."""

KEPT_SETTINGS = {"PROPAGUL_KERNEL"}
"""Which settings of the library's own a test run is meant to see."""

PORTS = range(12_000, 32_000)
"""Where `free_port` looks: under the range from which the system takes ports for outgoing connections."""

_PR_SET_CHILD_SUBREAPER = 36

EXAMPLES = 100 if os.environ.get("LONG_TESTS") == "1" else 50
"""Of each property that does not say how many."""

settings.register_profile("dev", deadline=None, print_blob=True, max_examples=EXAMPLES)
settings.register_profile("ci", deadline=None, print_blob=True, max_examples=EXAMPLES, derandomize=True)
settings.load_profile("ci" if IN_CI else "dev")


# The session.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked as long, and say how much that is, unless long tests were asked for."""
    if os.environ.get("LONG_TESTS") == "1":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without collecting garbage: nearly all of what is made meanwhile stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Shut the developer's own settings out, adopt orphans, and start counting skips where the report is written."""
    for name in [name for name in os.environ if name.startswith("PROPAGUL_") and name not in KEPT_SETTINGS]:
        del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"
    _adopt_orphans()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; our children would be deaf, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipCount(), "skip-count")


def _adopt_orphans() -> None:
    """Have processes whose parent ended become ours rather than init's, so that they are seen (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class SkipCount:
    """Names what was skipped, and makes it a failure in CI. An expected failure is not a skip."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test skipped from within, by a fixture or by a mark."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a whole file skipped while it was read."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped[report.nodeid] = reason

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green session that skipped something red in CI."""
        if IN_CI and self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what did not run."""
        if not self.skipped:
            return
        verdict = "counts as FAILED in CI" if IN_CI else "would fail in CI"
        terminalreporter.section(f"{len(self.skipped)} NOT RUN: {verdict}", sep="!", red=IN_CI, yellow=not IN_CI)
        for name, reason in sorted(self.skipped.items()):
            terminalreporter.line(f"{name}: {reason}")
        if networks := sum(name.startswith("tests/network/") for name in self.skipped):
            terminalreporter.line(f"{networks} network tests did not run: nothing was shown of networks that fail.")


# Each test.


@pytest.fixture(scope="session", autouse=True)
def _own_directories(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Point the default data and config directories away from the developer's own."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture(scope="session", autouse=True)
def _no_process_outlives_the_session() -> Iterator[None]:
    """Kill what fixtures of a file or of the session left alive, and fail the last test."""
    before = set(_children())
    yield
    _end_strays(before)


@pytest.fixture(scope="module", autouse=True)
def _what_stays_is_collected_once() -> None:
    """Keep the collection after each test cheap: what a file finds when it begins (imports, reports) stays anyway."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Kill what a test started and left alive, and fail it. Processes of wider fixtures were there before."""
    before = set(_children())
    yield
    _end_strays(before)


@pytest.fixture(autouse=True)
def _no_asyncio_message_is_lost() -> Iterator[None]:
    """Fail a test during or after which asyncio had something to say that nobody heard.

    A task whose exception nobody retrieved, a task destroyed while pending, an error in a callback: asyncio can only
    log these, some of them not before the collector finds the task.
    """
    ear = _Ear()
    logger = logging.getLogger("asyncio")
    logger.disabled = False
    logger.addHandler(ear)
    yield
    gc.collect()
    logger.removeHandler(ear)
    if ear.heard:
        pytest.fail("asyncio said: " + "\n".join(ear.heard))


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give out loopback TCP ports that nobody listens on; never the same twice in a row."""
    return _next_port


class _Ear(logging.Handler):
    """Keeps what was logged at ERROR and above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))


def _end_strays(before: set[psutil.Process]) -> None:
    """Kill the children that are neither in `before` nor about to end, and fail if there are any."""
    left = [child for child in _children() if child not in before and not _is_spent(child)]
    try:
        _, left = psutil.wait_procs(left, timeout=EXIT_GRACE_S) if left else ([], [])
        names = [f"{child.pid} {_command_of(child)}" for child in left]
    finally:  # also when the wait is cut short by the test's time limit
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(left, timeout=EXIT_GRACE_S)
    if left:
        pytest.fail("left running: " + "; ".join(names))


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True) if _may_have_children() else []


def _may_have_children() -> bool:
    """Whether looking for them, which takes ten milliseconds and is done twice a test, may find any."""
    if sys.platform == "win32":
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _is_spent(child: psutil.Process) -> bool:
    """Whether a process is over, or serves multiprocessing as long as we live."""
    try:
        return child.status() == psutil.STATUS_ZOMBIE or "multiprocessing.resource_tracker" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:
        return True


def _command_of(child: psutil.Process) -> str:
    try:
        return " ".join(child.cmdline())[:200] or child.name()
    except psutil.NoSuchProcess:
        return "(gone)"


def _ports() -> Iterator[int]:
    """Endless, from a place of its own in each process, so that sessions side by side seldom meet."""
    start = random.SystemRandom().randrange(len(PORTS))
    while True:
        for step in range(len(PORTS)):
            port = PORTS[(start + step) % len(PORTS)]
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            yield port


_next_port = _ports().__next__
