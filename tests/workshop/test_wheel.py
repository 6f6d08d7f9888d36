"""What users install: what is in it, what is not, and that README's own install lines work.

The install tests fetch the dependencies through the ordinary clients; where no package index can be reached they fail
and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.tags import cpython_tags, sys_tags
from packaging.utils import parse_wheel_filename

from tests.workshop.documents import ROOT, blocks, project_version

pytestmark = pytest.mark.xdist_group("wheel")  # one worker, so that it is built once

BUILD = ("-m", "build", "--no-isolation", "--outdir")
INSTALL_LINES = [
    (block.name, block.commands()) for block in blocks("README.md", "sh") if "dist/propagul-" in block.code
]


class Built(NamedTuple):
    """A directory with fresh wheels and a source archive in `dist/`.

    Attributes:
        wheel: The one that runs everywhere.
        compiled: The one with the kernel in it.
    """

    place: Path
    wheel: Path
    sdist: Path
    compiled: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What `make wheel` makes."""
    place = tmp_path_factory.mktemp("built")
    for pure, what in (("false", ()), ("true", ("--wheel",))):
        command = (sys.executable, *BUILD[:-1], *what, BUILD[-1], str(place / "dist"), str(ROOT))
        done = run(*command, cwd=place, HATCH_BUILD_NO_HOOKS=pure)
        assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = place.glob("dist/*-py3-none-any.whl")
    compiled = next((path for path in place.glob("dist/*.whl") if path != wheel), wheel)
    return Built(place, wheel, next(place.glob("dist/*.tar.gz")), compiled)


@pytest.fixture(scope="module")
def files(built: Built) -> dict[str, bytes]:
    """The wheel's files by name."""
    with zipfile.ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    env = dict(os.environ) | environment
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=140, check=False)


def test_make_wheel_builds_what_is_tested_here() -> None:
    recipe = run("make", "-n", "wheel", cwd=ROOT).stdout
    assert " ".join((*BUILD, "dist")) in recipe
    pure = next(line for line in recipe.splitlines() if "HATCH_BUILD_NO_HOOKS=true" in line)
    assert "--wheel --outdir dist" in pure


@pytest.mark.skipif(not shutil.which("cc"), reason="the kernel needs a C compiler")
@pytest.mark.long
def test_where_a_compiler_is_a_second_wheel_has_the_kernel_and_the_tag_of_this_python(
    built: Built, files: dict[str, bytes]
) -> None:
    kernel = f"propagul/_kernel{sysconfig.get_config_var('EXT_SUFFIX')}"
    with zipfile.ZipFile(built.compiled) as archive:
        names = {name for name in archive.namelist() if "dist-info" not in name}
    assert names == {name for name in files if "dist-info" not in name} | {kernel}
    _, _, _, tags = parse_wheel_filename(built.compiled.name)
    assert tags <= set(sys_tags())
    assert {(tag.interpreter, tag.abi) for tag in tags} == {next((t.interpreter, t.abi) for t in cpython_tags())}


def test_without_a_compiler_the_wheel_is_pure_and_the_build_says_so(tmp_path: Path) -> None:
    command = (sys.executable, *BUILD[:-1], "--wheel", "--outdir", str(tmp_path), str(ROOT))
    done = run(*command, cwd=tmp_path, PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.glob("*.whl")] == [f"propagul-{project_version()}-py3-none-any.whl"]
    assert "Built without the kernel" in done.stdout + done.stderr


def test_the_wheel_runs_nothing_at_start_up_and_holds_two_scripts(files: dict[str, bytes]) -> None:
    assert not [name for name in files if name.endswith((".pth", ".so", ".dll", ".dylib", ".exe"))]
    assert not [name for name in files if ".data/" in name]
    assert not [name for name in files if Path(name).stem in {"sitecustomize", "usercustomize"}]
    entry_points = files[f"propagul-{project_version()}.dist-info/entry_points.txt"].decode()
    assert sorted(re.findall(r"^([\w-]+) *=", entry_points, re.MULTILINE)) == ["propagul", "propagul-mesh"]
    assert re.findall(r"^\[(.*)\]", entry_points, re.MULTILINE) == ["console_scripts"]


def test_the_wheel_holds_library_fleet_and_adapters_and_nothing_else(files: dict[str, bytes]) -> None:
    rooms = [ROOT / "propagul", ROOT / "fleet_app", *sorted((ROOT / "integrations").glob("propagul_*"))]
    assert {name.split("/")[0] for name in files} == {
        *(room.name for room in rooms),
        f"propagul-{project_version()}.dist-info",
    }
    assert {"propagul/py.typed", "fleet_app/py.typed"} <= files.keys()
    assert not [name for name in files if re.search(r"(^|/)(tests?|demo|conftest\.py|__pycache__)(/|$)", name)]
    source = {str(path.relative_to(room.parent)) for room in rooms for path in room.rglob("*.py")}
    assert source <= files.keys()


def test_the_wheel_holds_the_dashboard_with_every_licence(files: dict[str, bytes]) -> None:
    static = "fleet_app/dashboard/static/"
    here = {
        static + path.relative_to(ROOT / static).as_posix() for path in (ROOT / static).rglob("*") if path.is_file()
    }
    assert f"{static}index.html" in here <= files.keys()
    vendored = {Path(name).parent.as_posix() for name in here if "/vendor/" in name and name.endswith((".js", ".mjs"))}
    assert vendored
    for folder in vendored:
        assert files.get(f"{folder}/LICENSE", b"").strip(), f"{folder} has no LICENSE"
    assert b"MIT License" in files[f"propagul-{project_version()}.dist-info/licenses/LICENSE"]


def test_the_source_archive_builds_the_wheel_and_holds_no_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    # The wheel was built from this archive, not from the checkout: that is how `build` works.
    assert top == {
        ".gitignore",  # hatchling's own habit
        "CHANGELOG.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "SECURITY.md",
        "fleet_app",
        "hatch_build.py",
        "integrations",
        "kernel",
        "propagul",
        "pyproject.toml",
    }


def test_the_library_alone_needs_little(files: dict[str, bytes]) -> None:
    metadata = files[f"propagul-{project_version()}.dist-info/METADATA"].decode()
    required = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)]
    assert {requirement.name for requirement in required if requirement.marker is None} == {
        "click",
        "cryptography",
        "msgpack",
    }


def test_readme_pins_away_from_the_old_package() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pinned = [Requirement(found) for found in re.findall(r'install "(propagul[^"/]*)"', text)]
    assert len(pinned) >= 3
    for requirement in pinned:
        assert requirement.specifier.contains("1.0.0")
        assert not requirement.specifier.contains("0.9.0"), f"{requirement} would install something else"


def test_readme_installs_with_uv_pipx_and_pip() -> None:
    text = " ".join(command for _, commands in INSTALL_LINES for command in commands)
    assert text.index("make wheel") < text.index("uv tool install") < text.index("pipx install") < text.index("pip ")


@pytest.mark.index
@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(lines, id=name, marks=() if any(line.startswith("uv ") for line in lines) else pytest.mark.long)
        for name, lines in INSTALL_LINES
    ],
)
def test_the_install_lines_of_readme_work(commands: list[str], built: Built, tmp_path: Path) -> None:
    (tmp_path / "dist").symlink_to(built.wheel.parent)
    home = tmp_path / "home"
    environment = {
        "HOME": str(home),
        "PATH": os.pathsep.join((str(home / ".local/bin"), sysconfig.get_path("scripts"), os.environ["PATH"])),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "UV_CACHE_DIR": str(Path("~/.cache/uv").expanduser()),
        "PIP_CACHE_DIR": str(Path("~/.cache/pip").expanduser()),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for command in commands:
        if command != "make wheel":
            done = run("sh", "-ec", command, cwd=tmp_path, **environment)
            assert done.returncode == 0, (
                f"`{command}` failed. Can this machine reach a package index?\n{done.stdout}\n{done.stderr}"
            )
    if any("[fleet]" in command for command in commands):
        assert_the_fleet_runs(home / ".local/bin", tmp_path)
    else:
        assert_the_library_runs(tmp_path / "env/bin", tmp_path)


def assert_the_fleet_runs(scripts: Path, cwd: Path) -> None:
    """Run what a fleet in an environment of its own can say without starting."""
    assert {script.name for script in scripts.iterdir()} == {"propagul", "propagul-mesh"}
    assert project_version() in run(str(scripts / "propagul-mesh"), "--version", cwd=cwd).stdout
    done = run(str(scripts / "propagul"), "fleet", "up", "--help", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "--join" in done.stdout


def assert_the_library_runs(scripts: Path, cwd: Path) -> None:
    """Use the library where nothing else is, and hear from the fleet's command what it lacks."""
    use = "from propagul import AgentStateStore as S; s = S('r'); s.set('a', 1); print(s.get('a')); s.close()"
    assert run(str(scripts / "python"), "-c", use, cwd=cwd).stdout == "1\n"
    lacking = run(str(scripts / "propagul"), "--version", cwd=cwd)
    assert lacking.returncode == 2
    assert "propagul[fleet]>=1" in lacking.stderr


def test_readme_names_the_wheel_that_is_built() -> None:
    wheels = set(re.findall(r"dist/propagul-(.+?)-py3", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert wheels == {project_version()}
