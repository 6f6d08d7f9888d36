"""The repository keeps its own rules. The rules, their numbers and their exceptions: `tests/workshop/tidy.py`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.workshop import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[tidy.Source], Iterator[tidy.Finding]]

TEXT_RULES: list[Rule] = [
    tidy.long_files,
    tidy.long_functions,
    tidy.leftovers,
    tidy.forbidden_words,
    tidy.wide_excepts,
    tidy.system_calls,
    tidy.missing_docstrings,
    tidy.public_any,
]


@pytest.fixture(scope="module")
def sources() -> list[tidy.Source]:
    """Every text file of ours."""
    found = []
    for name in tidy.repository_files():
        content = (tidy.ROOT / name).read_bytes()
        if b"\0" not in content and not name.startswith(tidy.VENDORED):
            found.append(tidy.Source(name, content.decode()))
    return found


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_the_repository_is_tidy(rule: Rule, sources: list[tidy.Source]) -> None:
    assert len(sources) > 10
    findings = [finding for source in sources for finding in rule(source)]
    assert not findings, "\n".join(map(str, findings))


def test_git_holds_no_large_binary() -> None:
    findings = [
        finding
        for name in tidy.repository_files()
        for finding in tidy.large_binary(name, (tidy.ROOT / name).read_bytes())
    ]
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_no_file_is_writable_by_others() -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    findings = [
        finding
        for name in tidy.repository_files()
        for finding in tidy.loose_mode(name, (tidy.ROOT / name).stat().st_mode, umask)
    ]
    assert not findings, "\n".join(map(str, findings))
