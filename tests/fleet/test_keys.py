"""The fleet's keys with real nodes: changing the secret, shutting a box out, admins, and what the files keep."""

from __future__ import annotations

import json
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.fleet.boxes import node, propagul, wait_for

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.fleet.boxes import Box


def fleet(box: Box, *words: str, stdin: str | None = None) -> CompletedProcess[str]:
    """A fleet command that succeeds."""
    done = propagul("fleet", *words, "--data-dir", str(box.data_dir), stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done


def token_of(box: Box, *words: str) -> str:
    return fleet(box, "invite", *words).stdout.strip()


def secrets_of(path: Path) -> list[str]:
    file = path / "room-secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text().split()


def reaches(box: Box, name: str) -> bool:
    return box.node(name).get("reach") == "linked"


def where(box: Box) -> str:
    """Where a box listens, to have it listen there again."""
    return "{}:{}".format(*box.listen)


@pytest.mark.long
def test_the_secret_is_changed_while_the_fleet_runs_and_every_box_starts_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        a = stack.enter_context(node("a", tmp_path / "a"))
        b = stack.enter_context(node("b", tmp_path / "b", join=a.token))
        with node("c", tmp_path / "c", join=token_of(a)) as c:
            wait_for(lambda: reaches(a, "c") and reaches(c, "b") and reaches(a, "b"), 20)
        (former,) = secrets_of(tmp_path / "a")
        said = fleet(a, "rotate-secret").stdout
        assert "is being changed" in said
        wait_for(lambda: "Followed: b\nNot yet:  c" in fleet(a, "rotate-secret").stdout, 20)
        successor, second = secrets_of(tmp_path / "a")
        assert second == former != successor
        assert successor not in said
        assert fleet(a, "rotate-secret", "--show-secret").stdout.strip() == successor
        a.kill()
        a = stack.enter_context(node("a", tmp_path / "a"))
        wait_for(lambda: reaches(a, "b"), 20)
        with node("c", tmp_path / "c") as c:
            wait_for(lambda: reaches(c, "b") and secrets_of(tmp_path / "a") == [successor], 30)
            wait_for(lambda: len(json.loads((tmp_path / "c" / "grant.json").read_text())) == 2, 20)
        b.kill()
        b = stack.enter_context(node("b", tmp_path / "b"))
        wait_for(lambda: reaches(a, "b"), 20)
        assert not any("turned away" in notice for notice in b.status()["notices"])
        for box in (a, b):
            assert former not in box.printed
            assert successor not in box.printed
    for name in "abc":
        for path in (tmp_path / name).rglob("*"):
            if path.is_file() and path.name != "room-secret":
                content = path.read_bytes()
                assert former.encode() not in content, path
                assert successor.encode() not in content, path


@pytest.mark.long
def test_a_box_that_missed_the_change_is_told_and_comes_back_with_a_new_invite(tmp_path: Path) -> None:
    with node("a", tmp_path / "a") as a:
        with node("b", tmp_path / "b", join=a.token) as b:
            wait_for(lambda: reaches(a, "b"), 20)
        fleet(a, "rotate-secret")
        fleet(a, "rotate-secret", "--finish")
        with node("b", tmp_path / "b") as b:
            wait_for(lambda: any("the secret of this room was changed" in n for n in b.status()["notices"]), 20)
            assert not reaches(b, "a")
        with node("b", tmp_path / "b", join=token_of(a)) as b:
            wait_for(lambda: reaches(a, "b") and reaches(b, "a"), 20)
            assert "kept in" not in b.printed, "it is the same fleet: nothing is moved aside"
        with node("b", tmp_path / "b") as b:
            wait_for(lambda: reaches(a, "b"), 20)


@pytest.mark.long
def test_a_box_is_shut_out_and_stays_so(tmp_path: Path) -> None:
    with node("a", tmp_path / "a") as a, node("b", tmp_path / "b", join=a.token) as b:
        with node("x", tmp_path / "x", join=token_of(a)) as x:
            wait_for(lambda: reaches(a, "x") and reaches(b, "x"), 20)
            done = fleet(a, "revoke", "x", stdin="y\n")
            assert "x is shut out." in done.stdout
            wait_for(lambda: not reaches(a, "x") and not reaches(b, "x"), 20)
            wait_for(lambda: any("revoked member" in notice for notice in x.status()["notices"]), 20)
        a.kill()
        with node("x", tmp_path / "x") as x:
            wait_for(lambda: any("revoked member" in notice for notice in x.status()["notices"]), 20)
            assert not reaches(x, "b")


@pytest.mark.long
def test_an_admin_holds_the_secret_and_invites_and_one_who_did_not_change_it_becomes_a_member(tmp_path: Path) -> None:
    with node("a", tmp_path / "a") as a:
        with node("b", tmp_path / "b", join=token_of(a, "--admin")) as b:
            assert secrets_of(tmp_path / "b") == secrets_of(tmp_path / "a")
            wait_for(lambda: reaches(a, "b"), 20)
            with node("c", tmp_path / "c", join=token_of(b)) as c:
                wait_for(lambda: reaches(a, "c"), 20)
                assert not (tmp_path / "c" / "room-secret").exists()
                refused = propagul("fleet", "rotate-secret", "--data-dir", str(c.data_dir))
                assert refused.returncode == 1
                assert "only a box that holds the fleet's secret" in refused.stderr
                fleet(b, "rotate-secret")
                wait_for(lambda: len(secrets_of(tmp_path / "b")) == 1, 20)
                wait_for(lambda: not (tmp_path / "a" / "room-secret").exists(), 20)
        place = where(a)
        a.stop()
        with node("a", tmp_path / "a", listen=place) as again, node("b", tmp_path / "b"):
            wait_for(lambda: reaches(again, "b"), 20)
            assert propagul("fleet", "invite", "--data-dir", str(again.data_dir)).returncode == 1


@pytest.mark.long
def test_a_secret_given_by_a_flag_that_was_changed_meanwhile_does_not_stand_in_the_way(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("Zq8vT2mX5kRw9bNc4jLhYs\n")
    given.chmod(0o600)
    with node("a", tmp_path / "a", "--secret-file", str(given)) as a:
        with node("b", tmp_path / "b", join=a.token) as b:
            wait_for(lambda: reaches(a, "b"), 20)
            fleet(a, "rotate-secret", "--now")
            wait_for(lambda: len(secrets_of(tmp_path / "a")) == 1, 20)
            a.stop()
            with node("a", tmp_path / "a", "--secret-file", str(given)) as again:
                wait_for(lambda: reaches(again, "b") and reaches(b, "a"), 20)


@pytest.mark.long
@pytest.mark.parametrize("stage", ["written", "logged"])
def test_a_crash_in_the_middle_of_a_change_is_made_good(tmp_path: Path, stage: str) -> None:
    """The secret file is written first. `written`: nobody has heard of it; `logged`: the rows are there, no more."""
    with node("a", tmp_path / "a") as a, node("b", tmp_path / "b", join=a.token) as b:
        wait_for(lambda: reaches(a, "b"), 20)
        (former,) = secrets_of(tmp_path / "a")
        place = where(b)
        b.kill()
        if stage == "logged":
            fleet(a, "rotate-secret")
            (tmp_path / "a" / "lineage").unlink()
        a.kill()
        if stage == "written":
            (tmp_path / "a" / "room-secret").write_text(f"a-successor-nobody-has-heard-of-7\n{former}\n")
        with node("a", tmp_path / "a") as again, node("b", tmp_path / "b", listen=place):
            wait_for(lambda: reaches(again, "b"), 20)
            wait_for(lambda: len(secrets_of(tmp_path / "a")) == 1, 30)
            assert secrets_of(tmp_path / "a") != [former]
