"""What two nodes say to each other, frame by frame, as text: `transcripts/`, to be read as a diff when it changes.

`PROPAGUL_REWRITE_TRANSCRIPTS=1 python -m tests.gossip.test_transcripts` writes them anew. A line names who speaks to
whom, what is said, and the row bytes in it; how a message is packed it does not show.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import pytest

from propagul.crdt import Origin, Replica
from propagul.gossip import (
    Direction,
    GossipConfig,
    GossipNode,
    LinkDown,
    LinkKey,
    LinkUp,
    Ready,
    Received,
    Tick,
    Wrote,
    decoding,
    messages,
)
from propagul.link.base import NodeId
from propagul.store._namespace import Namespace
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from propagul.crdt import Entry
    from propagul.gossip import Effect, Event

WHERE = Path(__file__).parent / "transcripts"
REWRITE = "PROPAGUL_REWRITE_TRANSCRIPTS"
AGAIN = "python -m tests.gossip.test_transcripts"
DELAY_S = 0.001


class Table:
    """A few nodes that speak over links of a millisecond, and somebody who writes down every frame."""

    def __init__(
        self, names: str, directions: Mapping[str, Direction] | None = None, patient: Collection[str] = ()
    ) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.spaces = {
            name: Namespace("", Replica(Origin(number)), threading.Lock(), None, wall_ns=self._wall_ns)
            for number, name in enumerate(names, 1)
        }
        self.nodes = {
            name: GossipNode(
                NodeId(name),
                f"node {name}",
                {"": space},
                GossipConfig(),
                random.Random(1),
                patient=patient,
                directions={"": directions[name]} if directions and name in directions else {},
            )
            for name, space in self.spaces.items()
        }
        self._links: dict[tuple[str, str], LinkKey] = {}
        self._keys = iter(range(1, 1000))
        self._flying: list[tuple[float, str, str, bytes]] = []

    def say(self, words: str) -> None:
        self.lines.append(f"# {words}")

    def write(self, name: str, key: str, value: bytes | None) -> None:
        """A write, or with None a deletion."""
        if value is None:
            self.say(f"{name} deletes {key}")
            self.spaces[name].remove(key)
        else:
            self.say(f"{name} writes {key}")
            self.spaces[name].put(key, value)
        self._feed(name, Wrote(""))

    def link(self, dialler: str, acceptor: str) -> None:
        self.say(f"{dialler} dials {acceptor}")
        for here, there in ((dialler, acceptor), (acceptor, dialler)):
            self._links[here, there] = LinkKey(next(self._keys))
        for here, there in ((dialler, acceptor), (acceptor, dialler)):
            self._feed(here, LinkUp(self._links[here, there], NodeId(there), dialed=here == dialler))

    def unlink(self, a: str, b: str) -> None:
        self.say(f"the link between {a} and {b} breaks")
        self._flying = [frame for frame in self._flying if {frame[1], frame[2]} != {a, b}]
        for here, there in ((a, b), (b, a)):
            self._feed(here, LinkDown(self._links.pop((here, there))))

    def run(self, seconds: float) -> None:
        """Let time pass; what happens at one instant happens in the order of names."""
        until = self.now + seconds
        while True:
            ticks = [(due, name) for name, node in self.nodes.items() if (due := node.next_tick()) is not None]
            tick = min(ticks, default=(float("inf"), ""))
            arrives = min((frame[0] for frame in self._flying), default=float("inf"))
            if min(tick[0], arrives) > until:
                break
            self.now = max(self.now, min(tick[0], arrives))
            if arrives <= tick[0]:
                frame = next(frame for frame in self._flying if frame[0] == arrives)
                self._flying.remove(frame)
                self._feed(frame[2], Received(self._links[frame[2], frame[1]], frame[3]))
            else:
                self._feed(tick[1], Tick())
        self.now = until

    def _wall_ns(self) -> int:
        return 10**18 + int(self.now * 1e9)

    def _feed(self, name: str, event: Event) -> None:
        for effect in self.nodes[name].handle(event, self.now):
            self._obey(name, effect)

    def _obey(self, name: str, effect: Effect) -> None:
        assert isinstance(effect, Ready), effect
        there = next((b for (a, b), key in self._links.items() if a == name and key == effect.link), None)
        if there is None:
            return
        for frame in taken(self.nodes[name].outgoing(effect.link)):
            self.lines.append(f"{self.now:8.3f} {name} -> {there}  {told(frame)}")
            self._flying.append((self.now + DELAY_S, name, there, frame))


def told(frame: bytes) -> str:  # noqa: PLR0911 - one a kind
    """One frame in words."""
    message = decoding.decode(frame)
    match message:
        case None:
            return "a kind of message that is not known"
        case messages.Hello():
            spaces = " ".join(f"{name!r}={digest.hex()[:8]}" for name, digest in sorted(message.digests.items()))
            ways = {f"{space!r} {way.name.lower()}": True for space, way in message.directions.items()}
            flags = flagged(recovering=message.recovering, urgent=message.urgent, **ways)
            return f"hello   version {message.version} {message.label!r} {spaces}{flags}"
        case messages.Digest():
            flags = flagged(
                applied=message.applied, same=message.same, more=message.more, rows_follow=message.rows_follow,
                only_these=message.only_these, join=message.join, patient=message.patient,
            )  # fmt: skip
            return f"digest  of {message.space}{flags} {entries_in_words(message.entries)}"
        case messages.Delta():
            return f"delta   of {message.space}{flagged(last=message.last)} {len(message.chunk)} bytes of rows"
        case messages.Push():
            origin = "the same origin" if message.origin is None else f"origin {message.origin}"
            flags = flagged(applied=message.applied, short=message.short)
            return f"push    of {message.space}{flags} {origin} {len(message.block)} bytes of rows"
        case messages.Pulse():
            return f"pulse   lane {message.lane.name.lower()}"
        case messages.Compare():
            return f"compare of {message.space} {len(message.sums)} bytes of sums"
        case messages.Mend():
            return f"mend    of {message.space}{flagged(last=message.last)} {len(message.chunk)} bytes of rows"
        case _:
            assert_never(message)


def flagged(**flags: bool) -> str:
    raised = [name for name, is_raised in flags.items() if is_raised]
    return f" [{' '.join(raised)}]" if raised else ""


def entries_in_words(entries: Iterable[Entry]) -> str:
    """Which origins, in order; stamps are of the clock and tell a reader nothing."""
    return " ".join(f"origin {origin}" for origin, _ in sorted(entries)) or "nothing new"


def handshake() -> list[str]:
    table = Table("ab")
    table.say("two nodes that both have nothing: their vectors are equal")
    table.link("a", "b")
    table.run(15.0)
    table.unlink("a", "b")
    table.say("and that each have what the other lacks")
    table.write("a", "k1", b"from a")
    table.write("b", "k2", b"from b")
    table.link("a", "b")
    table.run(5.0)
    table.write("a", "k1", b"again")
    table.run(2.0)
    return table.lines


def cold_join() -> list[str]:
    table = Table("ab")
    for number in range(3):
        table.write("a", f"k{number}", b"v" * 20_000)
    table.write("a", "large", b"v" * 100_000)
    table.write("a", "k0", None)
    table.say("b has nothing and joins")
    table.link("b", "a")
    table.run(5.0)
    return table.lines


def partition() -> list[str]:
    table = Table("abc")
    table.link("a", "b")
    table.link("b", "c")
    table.write("a", "k", b"before")
    table.run(3.0)
    table.unlink("a", "b")
    table.write("a", "k", b"of a")
    table.write("c", "k", b"of c")
    table.run(3.0)
    table.link("b", "a")
    table.run(3.0)
    assert len({space.hello()[0] for space in table.spaces.values()}) == 1
    return table.lines


def leaf() -> list[str]:
    table = Table("hol", {"l": Direction.UP})
    table.link("h", "o")
    table.write("o", "k1", b"of o")
    table.write("l", "k2", b"of l")
    table.run(3.0)
    table.say("l wants nothing of this namespace and links with h, its hub")
    table.link("l", "h")
    table.run(3.0)
    table.write("o", "k1", b"nothing to l")
    table.write("l", "k2", b"to all others")
    table.run(3.0)
    table.unlink("l", "h")
    table.write("l", "k3", b"meanwhile")
    table.say("h says what it has of l, so that l need not send that again")
    table.link("l", "h")
    table.run(3.0)
    return table.lines


def presence() -> list[str]:
    table = Table("abcd", patient=("",))
    table.say("all have more company than links, and what they say of themselves may wait")
    for node in table.nodes.values():
        node.be_sparse(True, table.now)
    for dialler, acceptor in ("ab", "ac", "bd", "cd"):
        table.link(dialler, acceptor)
    table.run(5.0)
    table.write("a", "k", b"of a")
    table.say("d is told of it by both b and c, and asks one of them")
    table.run(2.0)
    return table.lines


TRANSCRIPTS: dict[str, Callable[[], list[str]]] = {
    "handshake": handshake, "cold-join": cold_join, "partition": partition, "leaf": leaf, "presence": presence,
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_the_protocol_says_what_its_transcript_says(name: str) -> None:
    spoken = "\n".join(TRANSCRIPTS[name]()) + "\n"
    assert spoken == (WHERE / f"{name}.txt").read_text(encoding="utf-8"), f"if that is meant: {REWRITE}=1 {AGAIN}"


def rewrite() -> None:
    assert os.environ.get(REWRITE) == "1", f"set {REWRITE}=1 to write them anew"
    WHERE.mkdir(exist_ok=True)
    for name, speak in TRANSCRIPTS.items():
        (WHERE / f"{name}.txt").write_text("\n".join(speak()) + "\n", encoding="utf-8")
        print("written:", name)


if __name__ == "__main__":
    rewrite()
