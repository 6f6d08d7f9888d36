"""Make this checkout ready to run: `python3 scripts/setup.py wheel|demo|dev|crewai|agents`.

What `make` calls before it does anything else. Needs only python3 (3.11 or newer) and its standard library; creates
`.venv`, installs what the named level needs and remembers what it did, so that a second call costs nothing until
`pyproject.toml`, the interpreter or the place of the checkout changes. Installs Debian packages only where it may
without asking (root, or sudo without a password) and otherwise prints the line to run.

A framework that pins other versions of what the rest uses stands in an environment of its own beside `.venv`, made by
the level of its name. `AGENTS` says which directories of `tests/agents` run there.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MAIN = ".venv"
STAMP = ".propagul-setup.json"
PLACE = ".propagul-place"
PYTHON_MIN = (3, 11)
PIP = "pip>=25.1"  # the first that understands --group


class Level(NamedTuple):
    """The directory of an environment, and what pip is asked for."""

    directory: str
    needs: list[str]


# Each level holds the ones before it that have the same directory.
LEVELS = {
    "wheel": Level(MAIN, ["--group", "wheel"]),
    "demo": Level(MAIN, ["--group", "wheel", "--editable", ".[fleet]", "--group", "engine"]),
    "dev": Level(
        MAIN, ["--editable", ".[fleet,langgraph]", "--group", "engine", "--group", "agents", "--group", "dev"]
    ),
    "crewai": Level(".venv-crewai", ["--editable", ".[crewai]", "--group", "test"]),
    "agents": Level(".venv-agents", ["--editable", ".[adk,agent-framework,llamaindex]", "--group", "test"]),
}

# Directories of tests/agents that are collected only in the environment of the level named here, not in `.venv`.
AGENTS = {"crewai": "crewai", "adk": "agents", "agent_framework": "agents", "llamaindex": "agents"}

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FONT_DIRS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts")


class SetupError(Exception):
    """Setting up cannot go on; the message says what to do."""


def main(argv: list[str]) -> int:
    """Run the level named on the command line.

    Returns:
        0 when the checkout is ready, 1 when something is missing that a person must install, 2 on wrong usage.
    """
    if len(argv) != 1 or argv[0] not in LEVELS:
        print(f"usage: setup.py {'|'.join(LEVELS)}", file=sys.stderr)
        return 2
    try:
        prepare(argv[0])
    except (SetupError, subprocess.CalledProcessError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(level: str) -> None:
    """Bring the level's environment and the system packages to it; do nothing where they are there already.

    Raises:
        SetupError: The interpreter is too old, or no virtual environment can be made.
        subprocess.CalledProcessError: pip or venv failed; its own output says why.
    """
    if sys.version_info < PYTHON_MIN:
        need, found = ".".join(map(str, PYTHON_MIN)), ".".join(map(str, sys.version_info[:3]))
        message = f"python3 is {found}, Propagul needs {need} or newer; try: make PYTHON3=python{need}"
        raise SetupError(message)
    venv = ROOT / LEVELS[level].directory
    if not is_ready(level):
        if venv.name != MAIN:
            prepare("wheel")  # with `.venv` comes uv
        make_venv(venv)
        install(level)
    if level in {"demo", "dev"}:
        install_system_packages(level)


def fingerprint() -> str:
    """What an environment depends on: the files that say what is built, the interpreter and where the checkout lies."""
    kernel = sorted((ROOT / "kernel").glob("*.[ch]"))
    files = (ROOT / "pyproject.toml", ROOT / "hatch_build.py", *kernel, Path(__file__))
    known = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    for part in (str(ROOT), sys.version, str(shutil.which("cc"))):
        known.update(part.encode())
    return known.hexdigest()


def is_ready(level: str) -> bool:
    """Whether an earlier run brought the environment to `level` or a higher one, and nothing changed since."""
    venv = ROOT / LEVELS[level].directory
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        reached = list(LEVELS).index(stamp["level"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return stamp["fingerprint"] == fingerprint() and reached >= list(LEVELS).index(level) and venv_works(venv)


def install(level: str) -> None:
    """Install what `level` needs; the stamp is written last, so an interrupted run is repeated.

    The uv of `.venv` does it in a fifth of pip's time. Where it cannot (it does not read pip's own configuration), pip
    does it.
    """
    directory, needs = LEVELS[level]
    venv = ROOT / directory
    (venv / STAMP).unlink(missing_ok=True)
    say(f"installing what `{level}` needs into {directory} (a minute or two the first time)")
    if directory == MAIN:
        pip(venv, PIP, "uv>=0.5")
    if not quietly(uv("pip", "install", "--python", str(venv_python(venv)), *needs)):
        pip(venv, PIP)
        pip(venv, *needs)
    (venv / STAMP).write_text(json.dumps({"level": level, "fingerprint": fingerprint()}), encoding="utf-8")


def pip(venv: Path, *arguments: str) -> None:
    """Run pip's `install` in an environment."""
    command = (str(venv_python(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    subprocess.run(command, cwd=ROOT, check=True)


def uv(*arguments: str) -> list[str]:
    """A command of the uv in `.venv`."""
    return [str(venv_python(ROOT / MAIN)), "-m", "uv", "--quiet", *arguments]


def venv_python(venv: Path) -> Path:
    """An environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_works(venv: Path) -> bool:
    """Whether an environment's interpreter runs, is the version of ours and has pip, and nobody moved it.

    The scripts in an environment name their interpreter by its full path, so a moved one is broken.
    """
    place = venv / PLACE
    if place.exists() and place.read_text(encoding="utf-8") != str(venv):
        return False
    probe = "import sys, pip; print(sys.version); print(sys.prefix)"
    try:
        done = subprocess.run((str(venv_python(venv)), "-c", probe), capture_output=True, text=True, check=False)
    except OSError:
        return False
    version, _, prefix = done.stdout.strip().rpartition("\n")
    return done.returncode == 0 and version == sys.version and Path(prefix) == venv


def make_venv(venv: Path) -> None:
    """Create an environment, unless one that works is there.

    Any but the first is made by the uv of `.venv`. Debian ships python3 without `ensurepip`. Then virtualenv or uv,
    where installed, make the environment; else python3-venv is installed; else the line to run is printed.
    """
    if venv_works(venv):
        return
    say(f"creating {venv.name}")
    made = venv.name != MAIN and quietly(uv("venv", "--clear", "--seed", "--python", sys.executable, str(venv)))
    if not made and (has_ensurepip() or not make_venv_with_a_tool(venv)):
        make_venv_with_python(venv)
    (venv / PLACE).write_text(str(venv), encoding="utf-8")


def make_venv_with_python(venv: Path) -> None:
    """Let python3 make the environment, with Debian's package for that where it is missing and may be installed.

    Raises:
        SetupError: It is missing and may not.
    """
    if not has_ensurepip():
        packages = [f"python{sys.version_info[0]}.{sys.version_info[1]}-venv", "python3-venv"]
        if not any(apt_install([package]) for package in packages) or not has_ensurepip():
            message = f"this python3 cannot make virtual environments; install one with: {by_hand(packages[-1:])}"
            raise SetupError(message)
    subprocess.run((sys.executable, "-m", "venv", "--clear", str(venv)), check=True)


def make_venv_with_a_tool(venv: Path) -> bool:
    """Let virtualenv or uv make the environment; whether one of them is here and did."""
    python = ["--python", sys.executable]
    for command in (["virtualenv", "-q", "--clear", *python], ["uv", "venv", "-q", "--clear", "--seed", *python]):
        if shutil.which(command[0]):
            return quietly([*command, str(venv)], tell=True)
    return False


def has_ensurepip() -> bool:
    """Whether `python3 -m venv` can put pip into what it makes."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("ensurepip") is not None


def install_system_packages(level: str) -> None:
    """Install what pip cannot; name it where that is not allowed.

    The engine of demo and tests needs OpenMP's runtime. The tests look at the dashboard through a browser, with a font,
    compile a stand-in for NVIDIA's library and, as root, make networks of their own.
    """
    if sys.platform != "linux":
        return
    found = {"libgomp1": has_library("libgomp.so.1"), "curl": shutil.which("curl")}
    if level == "dev":
        found["chromium"] = any(map(shutil.which, BROWSERS))
        found["fonts-dejavu-core"] = any(next(Path(place).rglob("*.tt[fc]"), None) for place in FONT_DIRS)
        found["gcc"] = found["libc6-dev"] = shutil.which("cc")
        if os.geteuid() == 0:
            found["iproute2"], found["nftables"] = shutil.which("ip"), shutil.which("nft")
    missing = [package for package, there in found.items() if not there]
    if missing and not apt_install(missing):
        say(f"not installed: {', '.join(missing)}. What needs it will fail until you run: {by_hand(missing)}")


def has_library(name: str) -> bool:
    """Whether the system has a shared library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def apt_install(packages: list[str]) -> bool:
    """Install Debian packages if this account may without being asked.

    Returns:
        Whether they are installed now.
    """
    prefix = privilege()
    if prefix is None or not shutil.which("apt-get"):
        return False
    say(f"installing the system packages {', '.join(packages)}")
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    # The first try is for machines whose package lists are fresh; a bare one needs an update before.
    return quietly(install) or (quietly([*apt, "update"]) and quietly(install, tell=True))


def privilege() -> list[str] | None:
    """What to put before a command to run it as root: nothing, `sudo -n`, or None where neither works."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    return sudo if shutil.which("sudo") and quietly([*sudo, "true"]) else None


def quietly(command: list[str], *, tell: bool = False) -> bool:
    """Run a command without its output; with `tell`, print the last of it when it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode and tell:
        print("\n".join(done.stdout.splitlines()[-5:]), file=sys.stderr)
    return done.returncode == 0


def by_hand(packages: list[str]) -> str:
    """The line a person runs where this script may not."""
    return f"sudo apt-get install {' '.join(packages)}   (or your system's package of that kind)"


def say(what: str) -> None:
    """Tell the person at the terminal what is going on."""
    print(f"setup: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
