"""Make this checkout ready to run: `python3 scripts/setup.py wheel|demo|dev`.

What `make` calls before it does anything else. Needs only python3 (3.11 or newer) and its standard library; creates
`.venv`, installs what the named level needs and remembers what it did, so that a second call costs nothing until
`pyproject.toml`, the interpreter or the place of the checkout changes. Installs Debian packages only where it may
without asking (root, or sudo without a password) and otherwise prints the line to run.
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

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".propagul-setup.json"
PLACE = VENV / ".propagul-place"
PYTHON_MIN = (3, 11)

# What pip is asked for at each level. Each level holds the ones before it.
LEVELS = {
    "wheel": ["--group", "wheel"],
    "demo": ["--group", "wheel", "--editable", ".[fleet]", "--group", "engine"],
    "dev": ["--editable", ".[fleet,langgraph]", "--group", "engine", "--group", "agents", "--group", "dev"],
}

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
    """Bring `.venv` and the system packages to `level`; do nothing where they are there already.

    Raises:
        SetupError: The interpreter is too old, or no virtual environment can be made.
        subprocess.CalledProcessError: pip or venv failed; its own output says why.
    """
    if sys.version_info < PYTHON_MIN:
        need, found = ".".join(map(str, PYTHON_MIN)), ".".join(map(str, sys.version_info[:3]))
        message = f"python3 is {found}, Propagul needs {need} or newer; try: make PYTHON3=python{need}"
        raise SetupError(message)
    if not is_ready(level):
        make_venv()
        install(level)
    if level != "wheel":
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
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        reached = list(LEVELS).index(stamp["level"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return stamp["fingerprint"] == fingerprint() and reached >= list(LEVELS).index(level) and venv_works()


def install(level: str) -> None:
    """Install what `level` needs; the stamp is written last, so an interrupted run is repeated.

    uv does it in a fifth of pip's time. Where it cannot (it does not read pip's own configuration), pip does it.
    """
    STAMP.unlink(missing_ok=True)
    say(f"installing what `{level}` needs into .venv (a minute or two the first time)")
    pip("pip>=25.1", "uv>=0.5")  # that pip is the first that understands --group
    uv = [str(venv_python()), "-m", "uv", "pip", "install", "--quiet", "--python", str(venv_python())]
    if not quietly([*uv, *LEVELS[level]]):
        pip(*LEVELS[level])
    STAMP.write_text(json.dumps({"level": level, "fingerprint": fingerprint()}), encoding="utf-8")


def pip(*arguments: str) -> None:
    """Run pip's `install` in the environment."""
    command = (str(venv_python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    subprocess.run(command, cwd=ROOT, check=True)


def venv_python() -> Path:
    """The environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_works() -> bool:
    """Whether the environment's interpreter runs, is the version of ours and has pip, and nobody moved it.

    The scripts in an environment name their interpreter by its full path, so a moved one is broken.
    """
    if PLACE.exists() and PLACE.read_text(encoding="utf-8") != str(VENV):
        return False
    probe = "import sys, pip; print(sys.version); print(sys.prefix)"
    try:
        done = subprocess.run((str(venv_python()), "-c", probe), capture_output=True, text=True, check=False)
    except OSError:
        return False
    version, _, prefix = done.stdout.strip().rpartition("\n")
    return done.returncode == 0 and version == sys.version and Path(prefix) == VENV


def make_venv() -> None:
    """Create `.venv`, unless one that works is there.

    Debian ships python3 without `ensurepip`. Then virtualenv or uv, where installed, make the environment; else
    python3-venv is installed; else the line to run is printed.
    """
    if venv_works():
        return
    say("creating .venv")
    if has_ensurepip() or not make_venv_with_a_tool():
        make_venv_with_python()
    PLACE.write_text(str(VENV), encoding="utf-8")


def make_venv_with_python() -> None:
    """Let python3 make the environment, with Debian's package for that where it is missing and may be installed.

    Raises:
        SetupError: It is missing and may not.
    """
    if not has_ensurepip():
        packages = [f"python{sys.version_info[0]}.{sys.version_info[1]}-venv", "python3-venv"]
        if not any(apt_install([package]) for package in packages) or not has_ensurepip():
            message = f"this python3 cannot make virtual environments; install one with: {by_hand(packages[-1:])}"
            raise SetupError(message)
    subprocess.run((sys.executable, "-m", "venv", "--clear", str(VENV)), check=True)


def make_venv_with_a_tool() -> bool:
    """Let virtualenv or uv make the environment; whether one of them is here and did."""
    python = ["--python", sys.executable]
    for command in (["virtualenv", "-q", "--clear", *python], ["uv", "venv", "-q", "--clear", "--seed", *python]):
        if shutil.which(command[0]):
            return quietly([*command, str(VENV)], tell=True)
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
