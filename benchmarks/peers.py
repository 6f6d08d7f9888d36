"""The environment of a benchmark's peers: a virtual environment of its own under `.bench/`, made at first use.

Peers never share an environment with us: `propagul` 0.9.0 has the name of our own package. A peer that cannot be
installed is *missing*, with the reason; what it would have been compared with is left out and never guessed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".bench"
"""Everything that a run installs or writes; not in git, removed by `make clean`."""

INSTALL_TIMEOUT_S = 600

_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class PeerEnvironment:
    """An environment with pinned peers.

    Args:
        directory: Where it stands.
        wanted: The pinned version of each package.
        ours: Install this checkout as well, with that extra: for what can only be measured inside a peer.
    """

    def __init__(self, directory: Path, wanted: Mapping[str, str], *, ours: str = "") -> None:
        self._directory = directory
        self._wanted = wanted
        self._ours = ours
        self.missing: dict[str, str] = {}
        """Why a peer is not there, by its name."""

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self._directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def prepare(self) -> None:
        """Install what is not there yet, each peer by itself; afterwards `missing` says which could not be."""
        absent = self._absent()
        if absent and not self._works():
            trouble = self._make()
            if trouble:
                self.missing = dict.fromkeys(self._wanted, trouble)
                return
        reasons = {name: self._install(f"{name}=={self._wanted[name]}") for name in absent}
        self.missing = {name: reasons[name] or "it was installed and is not there" for name in self._absent()}
        if self._ours and self._works():
            trouble = self._install("--editable", f"{ROOT}[{self._ours}]")
            if trouble:
                self.missing["propagul"] = trouble

    def _absent(self) -> list[str]:
        if not self._works():
            return list(self._wanted)
        done = _run([str(self.python), "-I", "-c", _VERSIONS, *self._wanted])
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        return [name for name, version in self._wanted.items() if found.get(name) != version]

    def _works(self) -> bool:
        """Whether it is there and of our own interpreter's version."""
        if not self.python.exists():
            return False
        return _run([str(self.python), "-I", "-c", "import sys; print(sys.version)"]).stdout.strip() == sys.version

    def _make(self) -> str:
        """Make the environment, without pip where uv is there; return what went wrong."""
        shutil.rmtree(self._directory, ignore_errors=True)
        try:
            venv.create(self._directory, with_pip=not _uv())
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no virtual environment can be made here: {error}"
        return ""

    def _install(self, *requirement: str) -> str:
        """Install one requirement; return what went wrong."""
        uv = _uv()
        if uv:
            command = [*uv, "pip", "install", "--quiet", "--python", str(self.python), *requirement]
        else:
            command = [str(self.python), "-m", "pip", "install", "--quiet", *requirement]
        done = _run(command)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return "" if done.returncode == 0 else f"could not be installed: {lines[-1].strip() if lines else 'no reason'}"


def _uv() -> list[str]:
    """How uv is called here; empty where it is not."""
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return [found] if found else []


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
