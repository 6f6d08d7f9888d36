from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.presence.ear import RESYNC_S, Ear
from fleet_app.presence.intake import ROW_BYTES_MAX
from propagul import Heard

if TYPE_CHECKING:
    from collections.abc import Callable


class Room:
    """What others say, who of them is out of reach, and what is read of it."""

    def __init__(self) -> None:
        self.said: dict[str, Heard] = {}
        self.away: set[str] = set()
        self.read: list[str] = []
        self.tell: Callable[[str], None] = lambda _: None
        self.ear = Ear(self, "nodes/")
        self.now = 0.0

    def say(self, key: str, value: object, *, origin: str = "a") -> None:
        self.said[key] = Heard(value=value, age_s=0.0, origin=origin)
        self.tell(key)

    def unsay(self, key: str) -> None:
        del self.said[key]
        self.tell(key)

    def get(self, key: str, *, bytes_max: int) -> Heard | None:
        assert bytes_max == ROW_BYTES_MAX
        self.read.append(key)
        said = self.said.get(key)
        return said if said is not None and said.origin not in self.away else None

    def get_all(self, prefix: str = "", *, bytes_max: int) -> dict[str, Heard]:
        found = {key: self.get(key, bytes_max=bytes_max) for key in self.said if key.startswith(prefix)}
        return {key: said for key, said in found.items() if said is not None}

    def listen(self, heard: Callable[[str], None]) -> None:
        self.tell = heard

    def heard_s(self, said: Heard) -> float | None:
        return None if said.origin in self.away else 1.0

    def hear(self) -> set[str]:
        """Which nodes there is something new of; counts afresh what is read."""
        self.read.clear()
        return self.ear.listen(self.now)

    def told(self, node: str) -> dict[str, object]:
        return {name: row.value for name, row in self.ear.rows(node).items()}


def room() -> Room:
    there = Room()
    there.say("nodes/x", 1)
    there.say("nodes/x/about", 2)
    there.say("nodes/y", 3)
    assert there.hear() == {"x", "y"}
    return there


def test_only_what_has_changed_is_read_again() -> None:
    there = room()
    assert (there.hear(), there.read) == (set(), [])
    there.say("nodes/x/about", 4)
    there.say("members/x", 5)
    assert (there.hear(), there.read) == ({"x"}, ["nodes/x/about"])
    assert there.told("x") == {"": 1, "about": 4}
    there.unsay("nodes/x/about")
    assert there.hear() == {"x"}
    assert there.told("x") == {"": 1}


def test_who_is_out_of_reach_stays_as_it_was_and_comes_back_without_a_word() -> None:
    there = room()
    there.away.add("a")
    assert there.ear.heard_s("x") is None
    there.now += 2 * RESYNC_S
    assert there.hear() == set()
    assert there.told("x") == {"": 1, "about": 2}
    there.away.clear()
    assert there.ear.heard_s("x") == 1.0
    assert there.ear.nodes() == ["x", "y"]


def test_who_proves_its_life_later_is_heard_then() -> None:
    there = room()
    there.away.add("b")
    there.say("nodes/z", 6, origin="b")
    assert there.hear() == set()
    assert there.hear() == set()
    there.away.clear()
    assert there.hear() == {"z"}
    assert there.told("z") == {"": 6}


def test_everything_is_read_anew_now_and_then() -> None:
    there = room()
    there.said["nodes/x"] = Heard(value=7, age_s=0.0, origin="a")
    assert there.hear() == set()
    there.now += RESYNC_S
    assert there.hear() == {"x", "y"}
    assert there.told("x")[""] == 7
