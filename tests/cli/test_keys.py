"""`fleet revoke`, `fleet rotate-secret` and the flags that go with keys: what is asked, said and done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fleet_app.admin import RotationReply
from tests.cli.test_status import REVOKED, ROTATION, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Shell


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    REVOKED.clear()
    ROTATION[:] = [RotationReply(under_way=False)]
    path = tmp_path / "d"
    path.mkdir()
    with running(path):
        yield path


@pytest.mark.parametrize("who", ["new", "d" * 52, "dddddd"])
def test_revoke_says_what_happens_asks_and_does_it(shell: Shell, data_dir: Path, who: str) -> None:
    done = shell("fleet", "revoke", who, "--data-dir", str(data_dir), stdin="y\n")
    assert (done.returncode, done.stdout) == (0, "new is shut out.\n")
    for words in ("every box closes its links to it", "it keeps", "rotate-secret", "Shut it out? [y/N]"):
        assert words in done.stderr
    assert REVOKED == ["d" * 52]


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_revoke_does_nothing_without_a_yes(shell: Shell, data_dir: Path, answer: str) -> None:
    done = shell("fleet", "revoke", "new", "--data-dir", str(data_dir), stdin=answer)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing was done; --yes goes without asking" in done.stderr
    assert REVOKED == []


def test_revoke_with_yes_does_not_ask(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "revoke", "new", "--yes", "--data-dir", str(data_dir))
    assert done.returncode == 0
    assert "[y/N]" not in done.stderr
    assert REVOKED == ["d" * 52]


@pytest.mark.parametrize(
    ("who", "words"),
    [("nobody", "no box of this fleet is called 'nobody'"), ("ddddd", "no box of this fleet"), ("box1", "itself")],
)
def test_revoke_of_the_wrong_box_is_refused(shell: Shell, data_dir: Path, who: str, words: str) -> None:
    assert words in shell.complaint("fleet", "revoke", who, "--yes", "--data-dir", str(data_dir))
    assert REVOKED == []


def test_what_a_box_calls_itself_is_not_obeyed_by_the_terminal(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "revoke", "bbbbbb", "--data-dir", str(data_dir), "--yes")
    assert all(c.isprintable() or c == "\n" for c in done.stderr + done.stdout)


@pytest.mark.long
def test_rotate_secret_says_who_has_not_followed_and_how_to_finish(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "rotate-secret", "--overlap", "2h", "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("is being changed", "Followed: nobody", "Not yet:  late [31m", "in 2.0 h at the latest",
                  "propagul fleet rotate-secret --finish", str(data_dir / "room-secret")):  # fmt: skip
        assert words in done.stdout
    again = shell("fleet", "rotate-secret", "--data-dir", str(data_dir))
    assert "is still being changed" in again.stdout
    assert len(ROTATION) == 2, "asked again, it begins no second one"
    line = shell.complaint("fleet", "rotate-secret", "--now", "--data-dir", str(data_dir))
    assert "rotate-secret --finish" in line
    done = shell("fleet", "rotate-secret", "--finish", "--data-dir", str(data_dir))
    assert done.stdout == "The former secret opens nothing any more.\n"
    assert ROTATION[-1].under_way is False


def test_rotate_secret_now_leaves_no_overlap(shell: Shell, data_dir: Path) -> None:
    assert shell("fleet", "rotate-secret", "--now", "--data-dir", str(data_dir)).returncode == 0
    assert ROTATION[-1].left_s == 0


def test_the_secret_is_shown_on_request_only(shell: Shell, data_dir: Path) -> None:
    line = shell.complaint("fleet", "rotate-secret", "--show-secret", "--data-dir", str(data_dir), code=1)
    assert "this box was invited" in line
    (data_dir / "room-secret").write_text("the-new-one\nthe-former-one\n")
    (data_dir / "room-secret").chmod(0o600)
    assert shell("fleet", "rotate-secret", "--show-secret", "--data-dir", str(data_dir)).stdout == "the-new-one\n"
    assert len(ROTATION) == 1
    assert "the-new-one" not in shell("fleet", "rotate-secret", "--data-dir", str(data_dir)).stdout


def test_an_admins_invite_says_what_it_hands_over(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "invite", "--admin", "--data-dir", str(data_dir))
    assert done.stdout == "invite-3600-1-admin\n"
    assert "learns the fleet's secret" in done.stderr


def test_a_token_is_read_from_a_private_file(shell: Shell, stand_in: str) -> None:
    file = shell.home / "token"
    file.write_text("propagul1abc\n")
    file.chmod(0o600)
    done = shell.python(stand_in, "fleet", "up", "--join-file", str(file), "--join", "-", stdin="propagul1def\n")
    assert json.loads(done.stdout)["join"] == ["propagul1def", "propagul1abc"]
    assert done.stderr == ""
    file.chmod(0o644)
    assert "chmod 600" in shell.complaint("fleet", "up", "--join-file", str(file))
    file.write_text("")
    file.chmod(0o600)
    assert "holds no token" in shell.complaint("fleet", "up", "--join-file", str(file))
