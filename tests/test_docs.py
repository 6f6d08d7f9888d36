"""The documentation agrees with the source, builds, and fetches nothing from elsewhere."""

from __future__ import annotations

import dataclasses
import importlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from fleet_app.cli.up import up
from fleet_app.config.knobs import KNOBS, NOT_USED_YET, VARIABLES
from fleet_app.desired.fields import IN_FILES, TABLES
from tests.workshop.documents import ROOT, blocks, runs_elsewhere
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCALES = {"": 1, "KiB": 1024, "MiB": 1024**2, "s": 1}
LIMITS = re.findall(
    r"^\| (.*) \| ([\d.]+) ?(\w*) \| `([\w.]+)` \|$",
    (ROOT / "docs/limits.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md") if not runs_elsewhere(path.read_text("utf-8")))
PAGES.remove("desired.md")  # needs a fleet: tests/fleet/test_declared.py runs it
PORTS = (9001, 9002)
"""Which the pages' examples name; each is replaced by a free one."""


def in_source(path: str) -> object:
    """The constant, or the default of a dataclass's field, that a dotted path names."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        package, _, holder = module.rpartition(".")
        declared = dataclasses.fields(getattr(importlib.import_module(package), holder))
        return next(field.default for field in declared if field.name == name)


@pytest.mark.parametrize(("number", "unit", "path"), [row[1:] for row in LIMITS], ids=[row[3] for row in LIMITS])
def test_a_limit_on_the_page_is_the_one_in_the_source(number: str, unit: str, path: str) -> None:
    assert float(number) * SCALES[unit] == in_source(path)


def test_every_row_of_the_limits_is_checked() -> None:
    rows = re.findall(r"^\| (?!what).*`.*\|$", (ROOT / "docs/limits.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(LIMITS) > 15


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`(--[\w-]+)`)? ?\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [(knob.key, knob.flag, knob.variable) for knob in KNOBS.values()]
    assert set(re.findall(r"PROPAGUL_[A-Z_]+", text)) == set(VARIABLES)
    after = text[text.index("no effect in this version") :]
    assert set(re.findall(r"PROPAGUL_[A-Z_]+", after)) == set(NOT_USED_YET)


def test_every_field_that_can_be_declared_is_documented_in_the_words_of_the_code() -> None:
    text = (ROOT / "docs/desired.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", text[text.index("<!-- fields -->") :], re.MULTILINE)
    known = [
        (name, field.about) for table in TABLES for name, field in TABLES[table].items() if name in IN_FILES[table]
    ]
    assert rows[: len(known)] == known


def test_every_flag_of_the_table_is_one_of_fleet_up() -> None:
    flags = {flag for parameter in up.params for flag in parameter.opts}
    assert {knob.flag for knob in KNOBS.values() if knob.flag} <= flags


@pytest.mark.parametrize("page", PAGES)
def test_the_python_on_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    monkeypatch.chdir(tmp_path)
    ports = {str(port): str(free_port()) for port in PORTS}
    run_as_one_program(blocks(f"docs/{page}", "python"), {}, ports)


class Fetches(HTMLParser):
    """Collects what a page fetches by itself from another host. Links that a person follows are not that."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        fetched = tag in {"script", "img", "iframe", "source", "video", "audio"}
        fetched |= tag == "link" and given.get("rel") not in {"canonical", "next", "prev", "alternate"}
        url = given.get("src") or given.get("href") or ""
        if fetched and re.match(r"(https?:)?//", url):
            self.found.append(url)


@pytest.mark.parametrize(
    ("html", "count"),
    [
        ('<script src="https://a.example/x.js">', 1),
        ('<link rel="stylesheet" href="//a.example/x.css">', 1),
        ('<a href="https://a.example">', 0),
    ],
)
def test_a_fetch_is_noticed(html: str, count: int) -> None:
    page = Fetches()
    page.feed(html)
    assert len(page.found) == count


def test_the_documentation_builds_and_fetches_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 7
    for path in pages:
        page = Fetches()
        page.feed(path.read_text(encoding="utf-8"))
        assert not page.found, f"{path.name} fetches {page.found}"


def test_architecture_is_short_and_names_tests_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert text.count("\n") < 200
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert named
    for path, test in named:
        assert (ROOT / path).is_file(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"
