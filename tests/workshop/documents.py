"""The code blocks of a Markdown file, for the tests that run them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

from scripts.setup import AGENTS

ROOT = Path(__file__).resolve().parent.parent.parent

_BLOCK = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def runs_elsewhere(code: str) -> bool:
    """Whether code needs a framework that stands in another environment than `.venv`; its tests run it there."""
    return any(f"propagul_{framework}" in code for framework in AGENTS)


class Block(NamedTuple):
    """One fenced block."""

    path: str
    line: int
    language: str
    code: str

    @property
    def name(self) -> str:
        """Where it stands, for test names and complaints."""
        return f"{self.path}:{self.line}"

    def commands(self) -> list[str]:
        """The commands of a shell block: what follows `$ ` in a `console`, every line of `sh`; comments left out."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [found[1] for line in lines if (found := re.match(r"[\w@-]*\$ (.*)", line))]
        stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
        return [line for line in stripped if line]


def blocks(path: str, *languages: str) -> list[Block]:
    """The blocks of a file in one of `languages`, in order."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found = (
        Block(path, text.count("\n", 0, match.start()) + 2, match["language"], match["code"])
        for match in _BLOCK.finditer(text)
    )
    return [block for block in found if block.language in languages]


def project_version() -> str:
    """The version in pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert isinstance(version, str)
    return version
