"""Commands run as real processes, in a home of their own and with nothing of this machine's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """
import json, sys
from fleet_app.cli import main
def serve(settings, console):
    print(json.dumps({
        "name": settings.name, "data_dir": str(settings.data_dir), "join": settings.join, "backends": settings.backends,
        "listen": str(settings.listen), "listen_given": settings.listen_given, "gateway": str(settings.gateway),
        "gateway_given": settings.gateway_given, "detect": settings.detect, "mdns": settings.mdns,
        "secret": settings.secret.get_secret_value() if settings.secret else None, "log_format": settings.log_format,
    }))
    return 0
sys.exit(main(serve=serve))
"""
"""`propagul` with a node that only prints what it was told."""


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs `propagul` with a fresh home and environment."""

    home: Path

    def __call__(self, *words: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m fleet_app` with `words`."""
        return self._run(["-m", "fleet_app", *words], stdin, more)

    def python(
        self, program: str, *words: str, stdin: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that calls the command line itself."""
        return self._run(["-c", program, *words], stdin, more)

    def complaint(self, *words: str, code: int = 2, **more: str) -> str:
        """Run a command that must fail with `code`, silent but for one line on stderr, and return that line."""
        done = self(*words, **more)
        assert done.returncode == code, done
        assert done.stdout == ""
        assert done.stderr.startswith("propagul: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def environ(self, more: dict[str, str]) -> dict[str, str]:
        """The whole environment of a child."""
        base = {"HOME": str(self.home), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}
        return base | more

    def _run(self, arguments: list[str], stdin: str | None, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env=self.environ(more),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(home=tmp_path)


@pytest.fixture
def stand_in() -> str:
    return STAND_IN
