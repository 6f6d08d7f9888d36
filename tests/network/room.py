"""Five members in one room, and what a test wants to know of all of them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Final, Self

from tests.network.lab import until
from tests.network.member import Member

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.network.lab import Lab

IS_LONG: Final = os.environ.get("LONG_TESTS") == "1"

NAMES: Final = ("a", "b", "c", "d", "e")
GUEST: Final = "guest"
OUTSIDE: Final = "outside"
"""Hosts without a member: for one that a test starts and ends, and for strangers."""


class Room:
    """Members on the hosts of a lab, each with a directory that outlives it.

    Attributes:
        lab: The network.
        members: Those that run, by the name of their host.
    """

    def __init__(self, lab: Lab, place: Path) -> None:
        self.lab, self._place = lab, place
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.kill()

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def path(self, name: str) -> Path:
        """The directory of a member."""
        return self._place / name

    def forget(self, name: str) -> None:
        """Lose the directory of a member that does not run."""
        shutil.rmtree(self.path(name), ignore_errors=True)

    def restore(self, name: str, backup: Path) -> None:
        """Have a member that does not run find a copy of its directory."""
        self.forget(name)
        shutil.copytree(backup, self.path(name))

    def start(self, *names: str) -> None:
        """Start members, each told of two others; return when all are linked with all."""
        self.launch(*names)
        self.until_linked()

    def launch(self, *names: str) -> None:
        """The same, and return when they run, linked or not."""
        for name in names:
            peers = [self.lab[other] for other in NAMES if other != name][:2]
            self.members[name] = Member(self.lab[name], self.path(name), peers)
        for name in names:
            assert not self.members[name].ready().refusal

    def kill(self, name: str) -> None:
        """End a member without warning."""
        self.members.pop(name).kill()

    def mend(self) -> None:
        """End the guest, and wait until all are linked with all and hold the same."""
        if GUEST in self.members:
            self.kill(GUEST)
        self.until_linked()
        self.until_same()

    def until_linked(self) -> None:
        """Wait until everybody has a link to everybody."""
        nodes = {member.node for member in self.members.values()}
        for member in self.members.values():
            until(lambda m=member: m.linked() >= nodes - {m.node}, f"{member} is linked with all")  # type: ignore[misc]

    def until_same(self, *, within_s: float = 20.0) -> dict[str, Any]:
        """Wait until everybody holds the same; return it."""
        return until_same(self.members.values(), within_s=within_s)


def until_same(members: Iterable[Member], *, within_s: float = 20.0) -> dict[str, Any]:
    """Wait until these members hold the same; return it."""
    everybody, dumps = list(members), list[dict[str, Any]]()

    def are_same() -> bool:
        dumps[:] = [member.dump() for member in everybody]
        return all(dump == dumps[0] for dump in dumps)

    until(are_same, "all hold the same", within_s=within_s)
    return dumps[0]
