"""`scripts/setup.py` makes a checkout ready from nothing, once, and says what to do where it may not.

Each test runs the script itself in a small checkout whose path has a space in it. Debian's apt-get and sudo are stood
in for: a test installs nothing on the machine that runs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop.documents import ROOT

PROJECT = "[dependency-groups]\nwheel = []\n"

NO_ENSUREPIP = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "ensurepip" else found(name, package)
"""
"""Loaded by the interpreter at its start: a python3 as Debian ships it without python3-venv."""

APT_GET = '#!/bin/sh\necho "$DEBIAN_FRONTEND $@" >> "$APT_LOG"\nexit "${APT_EXIT:-0}"\n'
SUDO = '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n'


class Checkout:
    """A directory with the script and a project file, and a PATH that holds only what a test puts there."""

    def __init__(self, place: Path) -> None:
        self.root, self.tools, self.apt_log = place / "check out", place / "tools", place / "apt.log"
        self.hook = place / "hook"
        for directory in (self.root / "scripts", self.tools, self.hook):
            directory.mkdir(parents=True)
        shutil.copy(ROOT / "scripts/setup.py", self.root / "scripts/setup.py")
        (self.root / "pyproject.toml").write_text(PROJECT)
        shutil.copytree(ROOT / "kernel", self.root / "kernel")
        shutil.copy(ROOT / "hatch_build.py", self.root / "hatch_build.py")
        for name in ("env", "sh"):
            self.provide(name, str(shutil.which(name)))

    def provide(self, name: str, source: str) -> None:
        """Put a program on the PATH: an existing one by its path, or a script by its text."""
        if source.startswith("#!"):
            (self.tools / name).write_text(source)
            (self.tools / name).chmod(0o755)
        else:
            (self.tools / name).symlink_to(source)

    def without_ensurepip(self) -> None:
        """Make python3 look like Debian's bare one from now on."""
        (self.hook / "sitecustomize.py").write_text(NO_ENSUREPIP)

    def ask(self, question: str) -> str:
        """What an expression in the script's own terms gives."""
        command = (sys.executable, "-c", f"from setup import *; print(({question}))")
        env = dict(os.environ) | {"PATH": str(self.tools), "PYTHONPATH": "scripts"}
        return subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    def setup(self, level: str = "wheel", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        env = dict(os.environ) | {"PATH": str(self.tools), "PYTHONPATH": str(self.hook), "APT_LOG": str(self.apt_log)}
        command = (sys.executable, "scripts/setup.py", level)
        return subprocess.run(
            command, cwd=self.root, env=env | environment, capture_output=True, text=True, timeout=140, check=False
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout where nothing was set up yet."""
    return Checkout(tmp_path)


@pytest.mark.long
@pytest.mark.index
def test_setting_up_works_from_nothing_and_is_done_once(checkout: Checkout) -> None:
    first = checkout.setup()
    assert first.returncode == 0, f"Can this machine reach a package index?\n{first.stdout}{first.stderr}"
    assert "installing what `wheel` needs" in first.stdout
    again = checkout.setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert checkout.ask("is_ready('wheel'), is_ready('dev')") == "(True, False)"
    with (checkout.root / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    changed = checkout.setup()
    assert "installing what `wheel` needs" in changed.stdout
    assert "creating .venv" not in changed.stdout, "what was installed is kept"
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.ask("is_ready('wheel'), venv_works(ROOT / MAIN)") == "(False, False)", (
        "scripts name their interpreter by path"
    )


@pytest.mark.long
@pytest.mark.index
def test_an_environment_of_its_own_stands_beside_the_first_and_is_done_once(checkout: Checkout) -> None:
    level = "LEVELS.update(tiny=Level('.venv-tiny', ['--group', 'wheel']))"
    said = checkout.ask(f"{level}, prepare('tiny'), is_ready('tiny'), is_ready('wheel'), is_ready('dev')")
    assert said.endswith("(None, None, True, True, False)"), said
    assert {path.name for path in checkout.root.glob(".venv*")} == {".venv", ".venv-tiny"}
    assert checkout.ask(f"{level}, prepare('tiny')") == "(None, None)", "the second time there is nothing to say"


@pytest.mark.index
def test_uv_makes_the_environment_where_python_cannot(checkout: Checkout) -> None:
    checkout.without_ensurepip()
    checkout.provide("uv", str(Path(sys.executable).parent / "uv"))
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert (checkout.root / ".venv/bin/python").exists()


def test_without_rights_the_line_to_run_is_printed(checkout: Checkout) -> None:
    checkout.without_ensurepip()
    done = checkout.setup()
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_rights_the_missing_package_is_asked_of_debian(checkout: Checkout) -> None:
    checkout.without_ensurepip()
    checkout.provide("apt-get", APT_GET)
    checkout.provide("sudo", SUDO)
    done = checkout.setup(APT_EXIT="100")
    asked = checkout.apt_log.read_text().splitlines()
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert asked[0].startswith("noninteractive ")
    assert asked[0].endswith(f"install -y --no-install-recommends {version}")
    assert asked[1].endswith(" update")
    assert done.returncode == 1, "it was refused, so the line to run is printed"
    assert "sudo apt-get install python3-venv" in done.stderr


def test_an_unknown_level_is_refused(checkout: Checkout) -> None:
    assert checkout.setup("everything").returncode == 2


def test_ci_runs_exactly_make_test_and_passes_its_exit_code(tmp_path: Path) -> None:
    fake = tmp_path / "make"
    fake.write_text('#!/bin/sh\necho "CI=$CI $(pwd) make $@"\nexit 3\n')
    fake.chmod(0o755)
    env = dict(os.environ) | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    run = (str(ROOT / ".ci/run"),)
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (3, f"CI=true {ROOT} make test\n")
