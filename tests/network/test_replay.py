"""Bytes of real sessions, heard on the line and said again: they open nothing, change nothing, and are counted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.network import stranger
from tests.network.lab import PORT, Lab, until
from tests.network.member import Member
from tests.network.relay import Recording, Relay, playing
from tests.network.room import until_same

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("network-partitions")


class Line(NamedTuple):
    """Two members and the machine between them: `dialler` knows `acceptor` by the relay's address only."""

    lab: Lab
    dialler: Member
    acceptor: Member
    relay: Relay

    def until_linked(self, *, after: tuple[int, int] = (0, 0)) -> None:
        """Wait until both have a link, and acceptor and dialler have opened more than so many."""
        until(lambda: self.acceptor.stat("links_opened") > after[0], "the acceptor has a new link")
        until(lambda: self.dialler.stat("links_opened") > after[1], "the dialler has a new link")
        until(lambda: self.dialler.linked() and self.acceptor.linked(), "they are linked")

    def dump(self) -> dict[str, Any]:
        """What both hold."""
        return until_same([self.dialler, self.acceptor])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    place = tmp_path_factory.mktemp("line")
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(["dialler", "acceptor", "middle"]))
        relay = stack.enter_context(Relay(lab["middle"], lab["acceptor"]))
        between = (lab["middle"].address, PORT)
        acceptor = stack.enter_context(Member(lab["acceptor"], place / "acceptor", advertise=[between])).ready()
        dialler = stack.enter_context(Member(lab["dialler"], place / "dialler", [between], advertise=[])).ready()
        line = Line(lab, dialler, acceptor, relay)
        line.until_linked()
        yield line


@pytest.fixture
def session(line: Line) -> Recording:
    """A session in which both wrote something that was removed since, and which goes on."""
    line.relay.answer = line.relay.pass_on
    line.until_linked()
    line.dialler.set("said", "once")
    line.dialler.add()
    line.dump()
    line.acceptor.delete("said")
    line.acceptor.add()
    line.dump()
    return line.relay.recordings[-1]


@pytest.mark.parametrize("side", ["dialled", "accepted"])
@pytest.mark.parametrize("part", [1.0, 0.5], ids=["whole", "half"])
def test_what_was_said_to_an_acceptor_or_by_it_opens_nothing_there(
    line: Line, session: Recording, side: str, part: float
) -> None:
    before, refused = line.dump(), sum(line.acceptor.refused().values())
    opened = line.acceptor.stat("links_opened")
    said = bytes(getattr(session, side))
    with stranger.connect(line.lab["middle"], line.acceptor.host) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(said[: int(len(said) * part)])
        stranger.heard_on(connection)
    until(lambda: sum(line.acceptor.refused().values()) == refused + 1, "it is counted")
    assert line.acceptor.stat("links_opened") == opened
    assert line.dump() == before


@pytest.mark.parametrize("side", ["accepted", "dialled"])
def test_what_was_said_to_a_dialler_or_by_it_opens_nothing_there(line: Line, session: Recording, side: str) -> None:
    before, failed = line.dump(), line.dialler.stat("dials_failed")
    opened = line.dialler.stat("links_opened")
    line.relay.answer = playing(bytes(getattr(session, side)))
    line.relay.cut()
    until(lambda: line.dialler.stat("dials_failed") >= failed + 2, "it is counted")
    assert line.dialler.stat("links_opened") == opened
    assert line.dialler.linked() == frozenset()
    assert line.dialler.dump() == before
    line.relay.answer = line.relay.pass_on
    line.until_linked()
    assert line.dump() == before


@pytest.mark.parametrize("side", ["dialled", "accepted"])
def test_what_was_said_in_one_session_breaks_the_next_and_changes_nothing(
    line: Line, session: Recording, side: str
) -> None:
    said, before = bytes(getattr(session, side))[-400:], line.dump()
    for _ in range(2):  # in the session it is of, and in the next
        opened = line.acceptor.stat("links_opened"), line.dialler.stat("links_opened")
        line.relay.say(said)
        line.until_linked(after=opened)
    assert line.dump() == before


@pytest.mark.usefixtures("session")
def test_a_line_that_leads_back_to_oneself_is_no_link(line: Line) -> None:
    before, opened = line.dump(), line.dialler.stat("links_opened")
    line.relay.there = line.dialler.host
    line.relay.cut()
    until(lambda: "is this node itself" in " ".join(line.dialler.ask("troubles")), "it says so")
    assert line.dialler.stat("links_opened") == opened
    assert line.dialler.linked() == frozenset()
    line.relay.there = line.acceptor.host
    line.until_linked()
    assert line.dump() == before
