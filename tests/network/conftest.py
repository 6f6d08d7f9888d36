"""Five members on a network of their own. Where none can be made, every test here is skipped and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.network.lab import Lab, missing
from tests.network.room import GUEST, NAMES, OUTSIDE, Room

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _networks_can_be_made() -> None:
    if why_not := missing():
        pytest.skip(why_not)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Five members, all linked with all; the tests of a file share them and leave them so."""
    with Lab([*NAMES, GUEST, OUTSIDE]) as lab, Room(lab, tmp_path_factory.mktemp("room")) as room:
        room.start(*NAMES)
        yield room


@pytest.fixture
def whole(room: Room) -> Iterator[Room]:
    """The same, and whole again after the test."""
    yield room
    room.mend()


@pytest.fixture
def guest(whole: Room) -> Room:
    """The same with a sixth, whose directory is fresh, and which the test may kill and start again."""
    whole.forget(GUEST)
    whole.start(GUEST)
    return whole
