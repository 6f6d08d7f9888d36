"""A real chromium and pages that watch themselves: any console message or policy violation fails the test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
EXIT_LIMIT_S = 10.0
PATIENCE_MS = 30_000
"""For each step of a browser: several of them and as many fleets may share two cores with this one."""

expect.set_options(timeout=PATIENCE_MS)

WATCH_POLICY = """
addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser a module; closed with it, because Playwright keeps a loop running in this thread meanwhile."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM: the browser tests of the dashboard did not run; install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """The house's rule for this folder: what a test started is gone when it ends.

    The children of a process that was there before belong to that process: chromium starts and ends its own as it
    likes. So only our direct children count here; an orphan becomes one of them.
    """
    before = set(psutil.Process().children())
    yield
    left = [child for child in psutil.Process().children() if child not in before]
    _, alive = psutil.wait_procs(left, timeout=EXIT_LIMIT_S)
    left = [child for child in alive if not _is_over(child)]
    for child in left:
        child.kill()
    assert left == []


SERVER_IS_GONE = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING", "status of 503")
"""What chromium logs when a page outlives its server or asks it while it closes, as most do at the end of a test."""


def _is_over(child: psutil.Process) -> bool:
    """Whether a process has ended; one that nobody has waited for yet is a zombie, as chromium's orphans are."""
    try:
        return child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Complaints(list[str]):
    """Console messages and errors of a page. `expected` holds fragments that a test provokes on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = list(SERVER_IS_GONE)

    def unexpected(self) -> list[str]:
        return [said for said in self if not any(fragment in said for fragment in self.expected)]


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(chromium: Browser, complaints: Complaints) -> Iterator[Page]:
    """A page in a fresh context; when the test ends it must have complained of nothing unexpected."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.add_init_script(WATCH_POLICY)
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"pageerror: {error}"))
    yield page
    context.close()
    assert complaints.unexpected() == []
