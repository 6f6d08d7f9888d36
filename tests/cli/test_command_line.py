"""The command line as a person meets it: real processes, their exit codes and their one line of complaint."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

CANARY = "canary-token-that-nobody-may-see"

MESH = "import sys; from fleet_app.cli import mesh_main; sys.exit(mesh_main())"

WITHOUT_EXTRA = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from fleet_app.cli import main
sys.exit(main())
"""

RAISING = """
import sys
from fleet_app.cli import main
from propagul.errors import LinkError
def serve(settings, say):
    raise {error}
sys.exit(main(serve=serve))
"""


LOADED = """
import sys
from fleet_app.cli import main
def serve(settings, say):
    import fleet_app.run
    print(*sys.modules)
    return 0
sys.exit(main(serve=serve))
"""
"""Prints what is loaded where a node would run."""

SAID_WRONGLY = [
    ("fleet", "up", "--listen", "nonsense"),
    ("fleet", "up", "--listen", "a:99999"),
    ("fleet", "up", "--gateway", "0.0.0.0:8787"),
    ("fleet", "up", "--name", "x" * 65),
    ("fleet", "up", "--name", "two\nlines"),
    ("fleet", "up", "--name", ""),
    ("fleet", "up", "--secret-file", "/nonexistent"),
    ("fleet", "up", "--config", "/nonexistent"),
    ("fleet", "up", "--log-format", "xml"),
    ("fleet", "up", "--backend", "ftp://a"),
    ("fleet", "up", "--no-such-flag"),
    ("fleet", "up", "--join", "-"),
    ("fleet", "up", "surplus"),
    ("fleet", "invite", "--expires", "1y"),
    ("fleet", "invite", "--expires", "0s"),
    ("fleet", "invite", "--expires", "31d"),
    ("fleet", "invite", "--uses", "0"),
    ("fleet", "up", "--join-file", "/nonexistent"),
    ("fleet", "revoke"),
    ("fleet", "rotate-secret", "--overlap", "1y"),
    ("fleet", "rotate-secret", "--now", "--finish"),
    ("fleet", "rotate-secret", "--overlap", "1h", "--now"),
    ("fleet", "stat"),
    ("no-such-command",),
    ("config", "show", "--config", "/nonexistent"),
    ("detect", "--backend", "not a url"),
]

ONE_BY_ONE = """
import contextlib, io, json, sys
from fleet_app.cli import main
found = []
for words in json.loads(sys.argv[1]):
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            code = main(words)
        except SystemExit as exit:
            code = exit.code
    found.append([code, said.getvalue(), complained.getvalue()])
print(json.dumps(found))
"""
"""Many command lines in one process: starting Python takes longer than any of them."""


def test_what_is_said_wrongly_is_one_line_and_exit_2(shell: Shell) -> None:
    found = json.loads(shell.python(ONE_BY_ONE, json.dumps(SAID_WRONGLY)).stdout)
    for words, (code, said, complained) in zip(SAID_WRONGLY, found, strict=True):
        assert (code, said) == (2, ""), words
        assert complained.startswith("propagul: "), words
        assert complained.count("\n") == 1, words


def test_a_mistyped_variable_is_one_line_and_exit_2(shell: Shell) -> None:
    line = shell.complaint("fleet", "up", PROPAGUL_GATEWEY="127.0.0.1:1")
    assert line == "propagul: PROPAGUL_GATEWEY is no variable of Propagul; did you mean PROPAGUL_GATEWAY?\n"


def test_a_mistyped_flag_is_answered_with_the_right_one(shell: Shell) -> None:
    assert "--listen" in shell.complaint("fleet", "up", "--lisen", "0.0.0.0:1")


def test_a_secret_file_that_others_may_read_is_answered_with_chmod(shell: Shell) -> None:
    path = shell.home / "secret"
    path.write_text("x" * 32)
    path.chmod(0o644)
    assert "chmod 600" in shell.complaint("fleet", "up", "--secret-file", str(path))


def test_flags_reach_the_node(shell: Shell, stand_in: str) -> None:
    (shell.home / "s").write_text("x" * 32)
    (shell.home / "s").chmod(0o600)
    done = shell.python(
        stand_in, "fleet", "up", "--name", "box", "--data-dir", "d", "--listen", "127.0.0.1:1", "--gateway", "[::1]:2",
        "--join", CANARY, "--secret-file", "s", "--backend", "a:1", "--backend", "b:2", "--no-detect", "--no-mdns",
        "--log-format", "json", "-v",
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "name": "box", "data_dir": str(shell.home / "d"), "join": [CANARY], "backends": ["http://a:1", "http://b:2"],
        "listen": "127.0.0.1:1", "listen_given": True, "gateway": "[::1]:2", "gateway_given": True,
        "detect": False, "mdns": False, "secret": "x" * 32, "log_format": "json",
    }  # fmt: skip


@pytest.mark.parametrize("words", [("fleet", "up"), ("start",), ("fleet", "start")])
def test_start_is_another_name_of_fleet_up(shell: Shell, stand_in: str, words: tuple[str, ...]) -> None:
    done = shell.python(stand_in, *words, "--name", "n")
    assert (done.returncode, json.loads(done.stdout)["name"]) == (0, "n")


@pytest.mark.parametrize("word", ["up", "start"])
def test_propagul_mesh_has_the_fleet_commands_at_top_level(shell: Shell, stand_in: str, word: str) -> None:
    done = shell.python(stand_in.replace("main", "mesh_main"), word, "--name", "n")
    assert (done.returncode, json.loads(done.stdout)["name"]) == (0, "n")


FLEET = "up invite status revoke rotate-secret"


def test_help_names_every_command_and_hides_the_old_names(shell: Shell) -> None:
    top, fleet, mesh = (
        shell("--help").stdout,
        shell("fleet", "--help").stdout,
        shell.python(MESH, "--help").stdout,
    )
    for text, words in ((top, "fleet detect doctor config version"), (fleet, FLEET), (mesh, FLEET)):
        assert all(f"\n  {word} " in text for word in words.split())
        assert "\n  start " not in text
    up = shell("fleet", "up", "-h").stdout
    flags = (
        "name data-dir listen gateway join join-file secret-file backend no-detect no-mdns config log-format verbose"
    )
    assert all(f"--{flag}" in up for flag in flags.split())


def test_no_command_at_all_shows_help_and_exits_2(shell: Shell) -> None:
    done = shell()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: propagul" in done.stderr


def test_version_is_printed_by_flag_and_by_command(shell: Shell) -> None:
    for words in (("version",), ("--version",)):
        done = shell(*words)
        assert done.returncode == 0
        assert done.stdout.startswith("propagul ")


def test_a_token_on_the_command_line_works_and_warns(shell: Shell, stand_in: str) -> None:
    done = shell.python(stand_in, "fleet", "up", "--join", CANARY)
    assert json.loads(done.stdout)["join"] == [CANARY]
    assert done.stderr.startswith("propagul: warning: ")
    assert CANARY not in done.stderr


def test_a_token_on_standard_input_works_without_a_word(shell: Shell, stand_in: str) -> None:
    done = shell.python(stand_in, "fleet", "up", "--join", "-", stdin=f"  {CANARY} \n")
    assert (json.loads(done.stdout)["join"], done.stderr) == ([CANARY], "")


def test_a_token_is_read_from_a_pipe_that_stays_open(shell: Shell, stand_in: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", stand_in, "fleet", "up", "--join", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=shell.environ({}), cwd=shell.home, text=True,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{CANARY}\n")
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["join"] == [CANARY]


def test_a_token_that_is_no_token_is_refused_unseen(shell: Shell) -> None:
    done = shell("fleet", "up", "--join", "-", stdin=f"{CANARY} {CANARY}\n")
    assert done.returncode == 2
    assert CANARY not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        ("LinkError('the port is taken')", 1, "the port is taken"),
        ("PermissionError(13, 'Permission denied', '/etc/x')", 1, "Permission denied: /etc/x"),
        (f"RuntimeError('{CANARY}')", 1, "a defect of Propagul: RuntimeError at "),
        (f"ValueError(settings.join, '{CANARY}')", 1, "a defect of Propagul: ValueError at "),
    ],
)
def test_what_goes_wrong_at_run_time_is_one_line_and_exit_1(shell: Shell, error: str, code: int, says: str) -> None:
    done = shell.python(RAISING.format(error=error), "fleet", "up")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith(f"propagul: {says}")
    assert CANARY not in done.stderr


def test_with_v_a_traceback_is_logged_without_secrets(shell: Shell) -> None:
    done = shell.python(RAISING.format(error=f"ValueError('{CANARY}')"), "fleet", "up", "-v", PROPAGUL_JOIN=CANARY)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ValueError: ***" in done.stderr
    assert CANARY not in done.stderr


def test_the_nodes_exit_code_is_the_commands(shell: Shell) -> None:
    assert (
        shell.python(
            "import sys; from fleet_app.cli import main; sys.exit(main(['start'], serve=lambda *_: 1))"
        ).returncode
        == 1
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal on POSIX only")
def test_ctrl_c_is_a_clean_end(shell: Shell) -> None:
    program = RAISING.replace("    raise {error}", "    import time; print('up', flush=True); time.sleep(60)")
    with subprocess.Popen(
        [sys.executable, "-c", program, "fleet", "up"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environ({}), text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 10
        _, complaint = child.communicate(timeout=deadline - time.monotonic())
    assert (child.returncode, complaint.strip()) == (0, "")


@pytest.mark.parametrize("missing", ["click", "pydantic", "rich", "aiohttp", "platformdirs", "psutil", "ruamel"])
def test_without_the_extra_one_line_says_what_to_install(shell: Shell, missing: str) -> None:
    done = shell.python(WITHOUT_EXTRA.format(missing=missing), "fleet", "status" if missing == "rich" else "up")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert 'pip install "propagul[fleet]>=1"' in done.stderr


@pytest.mark.parametrize("word", ["version", "--version"])
def test_without_the_extra_the_version_can_be_asked(shell: Shell, word: str) -> None:
    done = shell.python(WITHOUT_EXTRA.format(missing="click"), word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("propagul ")


def test_a_library_that_is_missing_only_when_the_node_starts_is_named_by_its_extra(shell: Shell) -> None:
    done = shell.python(RAISING.format(error="ModuleNotFoundError('x', name='zeroconf')"), "fleet", "up")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'pip install "propagul[fleet]>=1"' in done.stderr


def test_config_show_prints_origins_and_no_secret(shell: Shell) -> None:
    (shell.home / "p.yaml").write_text("mdns: false\n")
    done = shell(
        "config", "show", "--config", "p.yaml",
        PROPAGUL_NAME="box", PROPAGUL_GOSSIP_SECRET=CANARY, PROPAGUL_JOIN=CANARY, PROPAGUL_REDIS_URL=CANARY,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert lines["name"] == "box environment PROPAGUL_NAME"
    assert lines["secret"] == "*** environment PROPAGUL_GOSSIP_SECRET"
    assert lines["mdns"] == "false file p.yaml:1"
    assert lines["listen"] == "0.0.0.0:8788 default"
    assert lines["PROPAGUL_REDIS_URL"].startswith("*** environment, no effect")
    assert CANARY not in done.stdout


def test_when_no_node_runs_a_command_says_how_to_start_one(shell: Shell, tmp_path: Path) -> None:
    for words in (("fleet", "status"), ("fleet", "status", "--json"), ("fleet", "invite"), ("fleet", "revoke", "x")):
        line = shell.complaint(*words, "--data-dir", str(tmp_path / "d"), code=1)
        assert line == f"propagul: no node runs on {tmp_path / 'd'}; start one with: propagul fleet up\n"


def test_a_closed_pipe_is_no_traceback(shell: Shell) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fleet_app", "config", "show"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environ({}), text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""


def test_a_start_needs_no_name_and_no_key(shell: Shell, stand_in: str) -> None:
    """The published 0.9.0 refuses its own first line, `start --api-key x`, for want of a name."""
    done = shell.python(stand_in, "start")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"]


def test_a_node_loads_nothing_that_draws_tables_and_no_other_command(shell: Shell) -> None:
    done = shell.python(LOADED, "fleet", "up")
    loaded = set(done.stdout.split())
    assert "fleet_app.node" in loaded, done.stderr
    assert not {module for module in loaded if module.partition(".")[0] in {"rich", "pygments"}}
    here = {module for module in loaded if module.startswith("fleet_app.cli.")}
    assert here == {"fleet_app.cli.frame", "fleet_app.cli.logs", "fleet_app.cli.up"}
