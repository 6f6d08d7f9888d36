"""`propagul fleet install` writes no secret and no token, and refuses what a service would not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet_app._system import printed_by
from fleet_app.cli.elsewhere import Place
from fleet_app.cli.install import _check_owner
from fleet_app.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell


def test_print_shows_file_and_commands_and_does_nothing(shell: Shell) -> None:
    (shell.home / "node.yaml").write_text("mdns: false\n")
    done = shell(
        "fleet", "install", "--print", "--name", "attic box", "--data-dir", "my data", "--config", "node.yaml",
        PROPAGUL_LISTEN="127.0.0.1:9000",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home = shell.home
    words = f'--data-dir "{home}/my data" --name "attic box" --listen 127.0.0.1:9000 --config {home}/node.yaml'
    assert words in done.stdout
    assert "--gateway" not in done.stdout
    assert "systemctl --user enable propagul.service" in done.stdout
    assert [path.name for path in home.iterdir()] == ["node.yaml"]


def test_a_token_is_refused_and_not_repeated(shell: Shell) -> None:
    said = shell.complaint("fleet", "install", "--join", "propagul1secret")
    assert "join by hand first" in said
    assert "propagul1secret" not in said


def test_a_secret_in_the_environment_is_refused_and_not_repeated(shell: Shell) -> None:
    said = shell.complaint("fleet", "install", "--print", PROPAGUL_GOSSIP_SECRET="canary-secret-of-thirty-characters")
    assert "secret_file" in said
    assert "canary" not in said


def test_a_token_in_the_environment_is_refused_and_not_repeated(shell: Shell) -> None:
    said = shell.complaint("fleet", "install", "--print", PROPAGUL_JOIN="propagul1secret")
    assert "PROPAGUL_JOIN: a token is used once" in said
    assert "propagul1secret" not in said


def test_with_sudo_a_users_node_is_not_passed_over(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    others = [Place("ada", theirs), Place("", ours)]
    _check_owner(ours, others)
    (theirs / "fleet").write_text("tag")
    with pytest.raises(ConfigError, match=f"user ada's node is in {theirs}; say which is meant"):
        _check_owner(ours, others)
    (ours / "fleet").write_text("tag")
    _check_owner(ours, others)


def test_a_setting_that_the_service_would_not_see_is_refused_by_name(shell: Shell) -> None:
    said = shell.complaint("fleet", "install", "--print", PROPAGUL_BACKENDS="http://127.0.0.1:9")
    assert "PROPAGUL_BACKENDS: a service does not see it" in said


def test_uninstall_without_a_service_says_so_and_what_stays(shell: Shell) -> None:
    (shell.home / "data").mkdir()
    done = shell("fleet", "uninstall", "--data-dir", "data")
    assert done.returncode == 0, done.stderr
    assert "no service is installed here" in done.stdout
    assert f"what stays: identity, membership and replica in {shell.home}/data" in done.stdout


def test_where_systemd_does_not_run_for_users_that_is_said(shell: Shell) -> None:
    answer = printed_by("systemctl", "--user", "show-environment")
    if answer is not None and answer.code == 0:
        pytest.skip("systemd runs for users here")
    said = shell.complaint("fleet", "install", "--data-dir", "data", code=1)
    assert "this system does not run systemd for users" in said
    assert not (shell.home / ".config").exists()


def test_the_tools_that_are_found_are_run_and_what_was_done_is_told(shell: Shell) -> None:
    """With programs that only note how they were called, in place of systemd's."""
    tools, calls = shell.home / "bin", shell.home / "calls"
    tools.mkdir()
    for name in ("systemctl", "loginctl"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{calls}"\n')
        (tools / name).chmod(0o755)
    path = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = shell("fleet", "install", "--data-dir", "data", **path)
    assert done.returncode == 0, done.stderr
    unit = shell.home / ".config/systemd/user/propagul.service"
    assert f"wrote {unit}" in done.stdout
    assert "this box was in no fleet: it founds one of its own" in done.stdout
    assert "its log: journalctl --user -u propagul -f" in done.stdout
    assert f"--data-dir {shell.home}/data" in unit.read_text()
    assert calls.read_text().splitlines()[-2] == "systemctl --user restart propagul.service"
    gone = shell("fleet", "uninstall", "--data-dir", "data", **path)
    assert (gone.returncode, gone.stdout) == (0, f"stopped it\nremoved {unit}\n")
    assert "systemctl --user disable --now propagul.service" in calls.read_text()
    assert not unit.exists()
