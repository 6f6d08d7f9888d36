"""Members that die, freeze, or come back with an old disk: nothing acknowledged is lost and nothing counts twice."""

from __future__ import annotations

import itertools
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from tests.network.lab import until
from tests.network.room import GUEST, IS_LONG, NAMES, Room, until_same

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("network-members")]

KILLS = 20 if IS_LONG else 2
FROZEN = "c"
FROZEN_S = 30.0 if IS_LONG else 8.0
"""Longer than a link may be silent and than presence is believed."""


@pytest.mark.timeout(60 + 30 * KILLS)
def test_what_a_killed_member_acknowledged_is_everywhere_once_it_runs_again(guest: Room) -> None:
    for life in range(KILLS):
        writes = guest[GUEST].burst(f"life {life} ")
        acknowledged = max(itertools.islice(writes, 50 * (life + 1)))
        guest[GUEST].process.kill()
        acknowledged = max([acknowledged, *writes])
        guest.kill(GUEST)
        guest.start(GUEST)
        values = guest.until_same()["values"]
        missing = [n for n in range(acknowledged + 1) if values.get(f"life {life} {n}") != "x" * (n % 500)]
        assert missing == []


def test_a_member_restored_from_a_backup_loses_nothing_and_counts_nothing_twice(guest: Room, tmp_path: Path) -> None:
    before = guest[GUEST].hits()
    guest[GUEST].add(3)
    guest[GUEST].set("restored", "in the backup")
    guest[GUEST].set("deleted later", 1)
    shutil.copytree(guest.path(GUEST), tmp_path / "backup")
    guest[GUEST].add(4)
    guest[GUEST].set("restored", "after the backup")
    guest[GUEST].delete("deleted later")
    guest.until_same()
    guest.kill(GUEST)
    guest["a"].add(1)
    guest.restore(GUEST, tmp_path / "backup")
    guest.start(GUEST)
    guest[GUEST].add(5)
    guest[GUEST].set("new", "by the restored one")
    dump = guest.until_same()
    assert dump["hits"] == before + 3 + 4 + 1 + 5
    assert dump["values"]["restored"] == "after the backup"
    assert dump["values"]["new"] == "by the restored one"
    assert "deleted later" not in dump["values"]
    assert not {"restored", "new"} & dump["conflicts"].keys()


@pytest.mark.long
def test_a_restored_member_may_write_before_it_hears_of_the_others(guest: Room, tmp_path: Path) -> None:
    before = guest[GUEST].hits()
    guest[GUEST].add(1)
    shutil.copytree(guest.path(GUEST), tmp_path / "backup")
    guest[GUEST].add(2)
    guest.until_same()
    guest.kill(GUEST)
    guest.restore(GUEST, tmp_path / "backup")
    with guest.lab.cut(GUEST):
        guest.launch(GUEST)
        guest[GUEST].add(4)
        assert guest[GUEST].hits() == before + 5
    assert guest.until_same()["hits"] == before + 7


def test_a_member_without_its_disk_gets_everything_from_the_others(guest: Room) -> None:
    guest[GUEST].set("of the lost disk", 1)
    guest[GUEST].add(1)
    dump = guest.until_same()
    guest.kill(GUEST)
    guest.forget(GUEST)
    guest.start(GUEST)
    assert guest.until_same() == dump


@pytest.fixture(scope="module")
def thawed(room: Room) -> dict[str, tuple[dict[str, int], int]]:
    """What everybody saw of everybody while one was frozen for longer than the others are patient, and after it.

    Of each member: how often it saw which others go, and how few it ever saw.
    """
    others = [room[name] for name in NAMES if name != FROZEN]
    for member in room.members.values():
        member.look()
    with room[FROZEN].frozen():
        since = time.monotonic()
        room["a"].set("while frozen", 1)
        until_same(others)
        for other in others:
            until(lambda o=other: FROZEN not in o.members(), "it is missed")  # type: ignore[misc]
        until(lambda: time.monotonic() - since > FROZEN_S, "it lasts", within_s=60)
    for other in others:
        until(lambda o=other: FROZEN in o.members() and room[FROZEN].node in o.linked(), "it is back", within_s=10)  # type: ignore[misc]
    room.until_linked()
    assert room.until_same()["values"]["while frozen"] == 1
    return {name: room[name].seen() for name in NAMES}


def test_a_frozen_member_is_missed_once_and_alone(thawed: dict[str, tuple[dict[str, int], int]]) -> None:
    for name in NAMES:
        gone = {missed: times for missed, times in thawed[name][0].items() if missed in NAMES}
        assert name == FROZEN or gone == {FROZEN: 1}


def test_a_member_that_thaws_does_not_think_all_others_dead(thawed: dict[str, tuple[dict[str, int], int]]) -> None:
    _, fewest = thawed[FROZEN]
    assert fewest > 0
