"""Commands run as real processes, in a home of their own and with nothing of this machine's environment."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """
import json, sys
from fleet_app.cli import main
def serve(settings, say):
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


TIMEOUT_S = 60


class Warm:
    """A process whose children are `propagul`, each started in no time; see `tests/cli/warm.py`."""

    def __init__(self) -> None:
        environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.warm"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=ROOT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(
        self, words: tuple[str, ...], cwd: Path, environ: dict[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m fleet_app` with `words`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as directory:
            files = {name: Path(directory) / name for name in ("stdin", "stdout", "stderr")}
            for name, file in files.items():
                file.write_text(stdin if name == "stdin" else "", encoding="utf-8")
            request = {"words": words, "cwd": str(cwd), "environ": environ}
            print(json.dumps(request | {name: str(file) for name, file in files.items()}), file=self._process.stdin)
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], TIMEOUT_S)[0]:
                self.end()
                raise subprocess.TimeoutExpired(list(words), TIMEOUT_S)
            code = int(self._process.stdout.readline())
            stdout, stderr = files["stdout"].read_text("utf-8"), files["stderr"].read_text("utf-8")
            return subprocess.CompletedProcess(list(words), code, stdout, stderr)

    def end(self) -> None:
        """End it, and what it runs."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs `propagul` with a fresh home and environment."""

    home: Path
    warm: Warm

    def __call__(self, *words: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m fleet_app` with `words`, without Python's own start."""
        return self.warm.run(words, self.home, self.environ(more), stdin or "")

    def python(
        self, program: str, *words: str, stdin: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that calls the command line itself, in a Python of its own."""
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=self.home,
            env=self.environ(more),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

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


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    process = Warm()
    yield process
    process.end()


@pytest.fixture
def shell(tmp_path: Path, warm: Warm) -> Shell:
    return Shell(home=tmp_path, warm=warm)


@pytest.fixture
def stand_in() -> str:
    return STAND_IN
