"""The files that make a node a service say what was asked, quoted for each system, and the tools are run in order."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fleet_app._system import Printed
from fleet_app.errors import ConfigError, FleetError
from fleet_app.service import NodeCommand, Service, install, plan, uninstall
from fleet_app.service.systemd import quoted

GOLDEN = Path(__file__).parent / "golden"
PROGRAM = ("/opt/my env/bin/python", "-m", "fleet_app", "fleet", "up")
WORDS = (*PROGRAM, "--data-dir", "/srv/100% of $it", "--name", 'a "b" \\c')
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def command(home: Path = Path("/home/ada"), *, system: bool = False, words: tuple[str, ...] = WORDS) -> NodeCommand:
    data_dir = Path("/srv/100% of $it")
    return NodeCommand(words=words, data_dir=data_dir, user="ada", home=home, system=system, user_id=501)


class Tool:
    """Stands in for the system's tools: notes what is run, and fails as told."""

    def __init__(self, *failing: str, says: str = "it is broken\nand more") -> None:
        self.ran: list[str] = []
        self._failing, self._says = failing, says

    def __call__(self, words: tuple[str, ...]) -> Printed | None:
        line = " ".join(words)
        self.ran.append(line)
        return Printed(1, self._says) if any(part in line for part in self._failing) else Printed(0, "")


@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_the_unit_of_systemd_is_as_agreed(system: bool) -> None:  # noqa: FBT001 - a parameter of the test
    expected = (GOLDEN / f"{'system' if system else 'user'}.service").read_text()
    assert plan(command(system=system), "linux").content.decode() == expected


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd's own check is not here")
@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_systemd_finds_no_fault_in_a_unit_with_an_odd_path(tmp_path: Path, system: bool) -> None:  # noqa: FBT001
    """The program must be there: a path that was quoted wrongly leads nowhere."""
    folder = tmp_path / "100% of $it ü"
    folder.mkdir()
    program = folder / "node"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    user = "root" if system else "ada"
    made = NodeCommand(words=(str(program), *WORDS[1:]), data_dir=folder, user=user, home=tmp_path, system=system)
    unit = tmp_path / "propagul.service"
    unit.write_bytes(plan(made, "linux").content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--system" if system else "--user", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "propagul.service" in line], done.stderr


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--data-dir", "--data-dir"),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\\b", '"a\\\\b"'),
        (";", '";"'),
        ("", '""'),
        ("größe", '"größe"'),
    ],
)
def test_a_word_of_a_unit_is_quoted(word: str, written: str) -> None:
    assert quoted(word) == written


def test_a_dollar_in_the_path_of_a_program_is_no_variable() -> None:
    assert quoted("/a$b", program=True) == '"/a$b"'


def test_a_program_that_systemd_would_refuse_is_refused_first() -> None:
    with pytest.raises(ConfigError, match="no program with quotes or backslashes"):
        plan(command(words=("/it's/python", "-m")), "linux")


def test_the_agent_of_launchd_holds_the_words_as_they_are() -> None:
    agent = plan(command(), "darwin")
    told = plistlib.loads(agent.content)
    assert told["ProgramArguments"] == list(WORDS)
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    assert "UserName" not in told
    assert "StandardOutPath" not in told, "an invite is printed there"
    assert agent.path == Path("/home/ada/Library/LaunchAgents/propagul.node.plist")
    daemon = plan(command(system=True), "darwin")
    assert plistlib.loads(daemon.content)["UserName"] == "ada"
    assert daemon.path == Path("/Library/LaunchDaemons/propagul.node.plist")


def test_the_task_of_windows_is_xml_in_utf_16_and_its_arguments_come_back_as_they_were() -> None:
    words = ("C:\\Program Files\\py & co\\python.exe", "--data-dir", 'C:\\100% "of" <it>', "--name", "a b\\")
    task = plan(command(words=words), "win32")
    root = ET.fromstring(task.content)  # the byte order mark names the encoding
    names = ("Command", "Arguments", "UserId", "Count", "LogonType")
    found = {name: root.findtext(f".//{TASK}{name}") for name in names}
    assert found == {
        "Command": words[0],
        "Arguments": '--data-dir "C:\\100% \\"of\\" <it>" --name "a b\\\\"',
        "UserId": "ada",
        "Count": "20",
        "LogonType": "InteractiveToken",
    }


@pytest.mark.parametrize("word", ["C:\\%TEMP%\\x", "$(Arg0)"])
def test_what_windows_would_replace_in_a_task_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="Windows replaces"):
        plan(command(words=("python.exe", word)), "win32")


def test_a_system_without_a_known_service_says_so() -> None:
    with pytest.raises(FleetError, match="no service is known for sunos5"):
        plan(command(), "sunos5")


@pytest.fixture
def unit(tmp_path: Path) -> Service:
    return plan(command(tmp_path), "linux")


def test_installing_writes_registers_and_starts_and_again_changes_nothing(unit: Service) -> None:
    for first_word in ("wrote", "kept"):
        tool = Tool()
        said = list(install(unit, tool))
        wrote = f"{first_word} {unit.path} (systemd unit of this user)"
        assert said == [wrote, "started it; it starts by itself from now on"]
        assert unit.path.read_bytes() == unit.content
        assert tool.ran == [
            "systemctl --user show-environment",
            "systemctl --user daemon-reload",
            "systemctl --user enable propagul.service",
            "systemctl --user reset-failed propagul.service",
            "systemctl --user restart propagul.service",
            "loginctl enable-linger ada",
        ]


def test_installing_replaces_a_unit_that_was_there(unit: Service) -> None:
    unit.path.parent.mkdir(parents=True)
    unit.path.write_text("something else")
    assert next(iter(install(unit, Tool()))).startswith("replaced ")
    assert unit.path.read_bytes() == unit.content


@pytest.mark.parametrize("absent", [True, False], ids=["no tool", "tool says no"])
def test_without_systemd_nothing_is_written_and_its_own_words_are_told(unit: Service, absent: bool) -> None:  # noqa: FBT001
    run = (lambda _: None) if absent else Tool("show-environment", says="Failed to connect to bus: No medium found")
    with pytest.raises(FleetError, match=r"this system does not run systemd for users: .*; nothing was written"):
        list(install(unit, run))
    assert not unit.path.parent.exists()


def test_a_step_that_must_not_fail_ends_it_and_linger_that_fails_is_told(unit: Service) -> None:
    with pytest.raises(FleetError, match=r"`systemctl --user restart propagul.service` failed: it is broken"):
        list(install(unit, Tool("restart")))
    said = list(install(unit, Tool("linger", "reset-failed")))
    assert "it stops when ada logs out, until root runs: loginctl enable-linger ada" in said[1]
    assert len(said) == 3


def test_uninstalling_stops_and_removes_and_again_says_that_there_is_none(unit: Service) -> None:
    list(install(unit, Tool()))
    tool = Tool()
    assert list(uninstall(unit, tool)) == ["stopped it", f"removed {unit.path}"]
    assert tool.ran[1:] == ["systemctl --user disable --now propagul.service", "systemctl --user daemon-reload"]
    assert not unit.path.exists()
    assert list(uninstall(unit, tool)) == [f"no service is installed here: there is no {unit.path}"]


def test_a_service_that_cannot_be_stopped_keeps_its_file(unit: Service) -> None:
    list(install(unit, Tool()))
    with pytest.raises(FleetError, match="disable --now"):
        list(uninstall(unit, Tool("disable")))
    assert unit.path.exists()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_the_tools_of_macos_and_windows_are_given_the_file(platform: str, tmp_path: Path) -> None:
    """As their documentation says; neither was run."""
    made = NodeCommand(words=("/p",), data_dir=tmp_path, user="ada", home=tmp_path, user_id=501)
    service, tool = plan(made, platform), Tool("bootout", "/End")
    list(install(service, tool))
    list(uninstall(service, tool))
    expected = {
        "darwin": [
            "launchctl bootout gui/501/propagul.node",
            "launchctl enable gui/501/propagul.node",
            f"launchctl bootstrap gui/501 {service.path}",
            "launchctl bootout gui/501/propagul.node",
        ],
        "win32": [
            "schtasks /End /TN propagul node",
            f"schtasks /Create /TN propagul node /XML {service.path} /F",
            "schtasks /Run /TN propagul node",
            "schtasks /End /TN propagul node",
            "schtasks /Delete /TN propagul node /F",
        ],
    }
    assert tool.ran == expected[platform]
    assert not service.path.exists()
