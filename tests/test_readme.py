"""What README and the documentation tell people to run does run.

The Python blocks of README are one program, run as written but for `SUBSTITUTIONS`, with a second store at the address
they name. Of shell blocks each command is parsed by the program that it calls; the install lines are executed in
`workshop/test_wheel.py`.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from fleet_app.cli.tree import PROGRAMS
from propagul import AgentStateStore
from tests.workshop.documents import ROOT, Block, blocks, runs_elsewhere
from tests.workshop.programs import run_as_one_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "a secret of thirty-two characters"
SUBSTITUTIONS = {
    "port=9001": 'port={ours}, host="127.0.0.1"',
    '("192.168.1.2", 9002)': '("127.0.0.1", {theirs})',
}

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
SHELL_BLOCKS = [block for page in PAGES for block in blocks(page, "sh", "console")]
OTHER_PROGRAMS = {
    ".venv/bin/python",
    "cd",
    "curl",
    "env/bin/pip",
    "export",
    "git",
    "journalctl",
    "pip",
    "pipx",
    "python3",
    "ssh",
    "uv",
}
"""Programs that are not ours and may stand in a block."""


def test_the_python_in_readme_runs_and_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROPAGUL_GOSSIP_SECRET", SECRET)
    ours, theirs = free_port(), free_port()
    replace = {old: new.format(ours=ours, theirs=theirs) for old, new in SUBSTITUTIONS.items()}
    found = [block for block in blocks("README.md", "python") if not runs_elsewhere(block.code)]
    assert all(any(old in block.code for block in found) for old in replace), "a substitution is out of use"
    peer = AgentStateStore("my-project", "peer", theirs, "127.0.0.1", secret=SECRET, path="peer/")
    peer.start_background()
    names: dict[str, object] = {}
    try:
        run_as_one_program(found, names, replace)
        assert peer.get("task") == "research"
    finally:
        peer.close()
    first = AgentStateStore("my-project", secret=SECRET, path="state/", port=None)
    assert first.get("task") == "research"
    first.close()
    report = names["report"]
    assert getattr(report, "complete", False), report


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell line, one list of words each; what `ssh` runs elsewhere is one of them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    before = ""
    for word in [*lexer, ";"]:
        before, last = word, before
        if word == ">" or last == ">":
            continue  # where a command's output goes
        if set(word) <= set(";|&"):
            yield words
            words = []
        elif words and words[0] == "ssh" and word in PROGRAMS:
            yield words
            words = [word]
        else:
            words.append(word)


def complaint(words: list[str]) -> str:
    """What is wrong with a command; empty when its program would take it."""
    program, *arguments = words
    if program in PROGRAMS:
        return propagul_complaint(PROGRAMS[program], arguments)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return "" if set(arguments) <= set(targets) else f"no such target among {arguments}"
    return "" if program in OTHER_PROGRAMS else f"{program} is not among the programs known here"


def propagul_complaint(command: click.Command, arguments: list[str]) -> str:
    """What `propagul` would say against the words, without running anything."""
    path = []
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        path.append(arguments[0])
        if arguments[0] not in command.commands:
            return f"no such command: {' '.join(path)}"
        command = command.commands[arguments[0]]
        arguments = arguments[1:]
    try:
        command.make_context(" ".join(path), list(arguments))
    except click.exceptions.Exit:  # --help and --version
        return ""
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=lambda block: block.name)
def test_every_command_on_a_page_is_one_its_program_takes(block: Block) -> None:
    commands = block.commands()
    assert commands, "a shell block without a command"
    for line in commands:
        for words in simple_commands(line):
            assert not complaint(words), f"{block.name}: {line}: {complaint(words)}"


@pytest.mark.parametrize(
    "line",
    [
        "propagul fleet up --no-such-flag",
        "propagul fleet dance",
        "propagul fleet invite --uses many",
        "propagul fleet invite | ssh box2 propagul fleet up --jion -",
        "make no-such-target",
        "propagull fleet up",
    ],
)
def test_a_wrong_command_is_caught(line: str) -> None:
    assert any(complaint(words) for words in simple_commands(line))


def test_wrong_python_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AttributeError):
        run_as_one_program([Block("README.md", 1, "python", "(1).no_such_name\n")], {}, {})
    with pytest.raises(NameError):
        run_as_one_program([Block("README.md", 1, "python", "await no_such_name()\n")], {}, {})
