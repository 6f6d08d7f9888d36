"""Workload: how one write reaches a crowd of nodes, in virtual time; a function of the seed and of nothing else.

One crowd lives through everything, in this order: links come up; one author writes again and again, which is where
nodes learn who brings news early; those writes that count; writes of authors who never wrote before; and at last a
tenth of the nodes dies without a word and segments are lost four times as often.
"""

from __future__ import annotations

import base64
import functools
import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.gossip.crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from propagul.crdt import Change

LOSS: Final = 0.05
LOSS_MUCH: Final = 0.20
DEAD: Final = 0.10
LINKS_S: Final = 5.0
APART_S: Final = 3.0
"""Virtual seconds between two writes; everything a write causes within them is counted as its own."""

GIVEN_UP_S: Final = 60.0
"""A node that lacks a write after this long counts as having got it then, and not as covered."""

RECORD_BYTES: Final = 26
"""What a frame costs above itself on a link: 22 bytes of a TLS 1.3 record and 4 of the frame's length."""

_VALUE_BYTES = 75


@dataclass(slots=True)
class Wave:
    """One write on its way.

    Attributes:
        key: What is written.
        payload: The value, which no other write has.
        began: When, virtual seconds.
        arrived_s: For each live node but the author how long after that it held the value.
        copies: Frames that carried the value.
        frames: All frames meanwhile.
        frame_bytes: Their bytes.
    """

    key: str
    payload: bytes
    began: float
    arrived_s: dict[int, float] = field(default_factory=dict)
    copies: int = 0
    frames: int = 0
    frame_bytes: int = 0


@dataclass(slots=True)
class Observed:
    """A crowd with somebody who looks on: a listener at every node and a tap on every link."""

    crowd: Crowd
    wave: Wave = field(default_factory=lambda: Wave("", b"", 0.0))
    written: int = 0

    def __post_init__(self) -> None:
        self.crowd.watch = self._saw
        for number, member in enumerate(self.crowd.members):
            member.space.listen(functools.partial(self._changed, number))

    def write(self, author: int) -> Wave:
        """Write once, and let time pass until all live nodes have it, `APART_S` at least; return how it went."""
        self.written += 1
        payload = base64.b64encode(self.crowd.rng.randbytes(_VALUE_BYTES))
        wave = self.wave = Wave(f"writes/{self.written}", payload, self.crowd.now)
        self.crowd.write(author, wave.key, payload)
        del wave.arrived_s[author]
        live = sum(not member.is_dead for member in self.crowd.members) - 1
        self.crowd.run(wave.began + APART_S)
        while len(wave.arrived_s) < live and self.crowd.now < wave.began + GIVEN_UP_S:
            self.crowd.run(self.crowd.now + APART_S)
        return wave

    def idle(self, seconds: float) -> Wave:
        """Write nothing for so long; return what was sent."""
        wave = self.wave = Wave("", b"nothing is written", self.crowd.now)
        self.crowd.run(self.crowd.now + seconds)
        return wave

    def _changed(self, number: int, change: Change, _local: bool) -> None:  # noqa: FBT001 - a listener's signature
        if change.key == self.wave.key:
            self.wave.arrived_s.setdefault(number, self.crowd.now - self.wave.began)

    def _saw(self, _sender: int, _receiver: int, frame: bytes) -> None:
        self.wave.copies += self.wave.payload in frame
        self.wave.frames += 1
        self.wave.frame_bytes += len(frame)


def spread(size: int, seed: int, *, warmups: int, writes: int, others: int, lossy: int) -> dict[str, float]:
    """Milliseconds until a write has reached a crowd, and what that cost; see this module.

    Args:
        size: Nodes.
        seed: Decides everything.
        warmups: Writes of the author that teach the lanes.
        writes: Writes of that author that count.
        others: Writes of as many authors who never wrote before.
        lossy: Writes of the author in bad times.
    """
    observed = Observed(Crowd(size, seed, LOSS))
    crowd = observed.crowd
    authors = crowd.rng.sample(range(size), 1 + others)
    author, fresh = authors[0], authors[1:]
    crowd.run(LINKS_S)
    first, *_ = [observed.write(author) for _ in range(warmups)]
    counted = [observed.write(author) for _ in range(writes)]
    foreign = [observed.write(other) for other in fresh]
    crowd.loss = LOSS_MUCH
    for number in crowd.rng.sample([number for number in range(size) if number != author], int(DEAD * size)):
        crowd.kill(number)
    bad = [observed.write(author) for _ in range(lossy)]
    live = size - int(DEAD * size)
    return {
        **_each("write", counted, size),
        **_together("first", [first], size),
        **_together("fresh", foreign, size),
        **_each("lossy", bad, live),
        "links": _links(crowd),
    }


def silence(size: int, seed: int, seconds: float) -> dict[str, float]:
    """Frames and bytes on an idle link of a crowd, in virtual time; a while after its only write."""
    observed = Observed(Crowd(size, seed, LOSS))
    crowd = observed.crowd
    crowd.run(LINKS_S)
    observed.write(0)
    observed.idle(2 * crowd.config.pulse_interval_s)
    silent, links = observed.idle(seconds), _links(crowd)
    return {
        "links": links,
        "frames_a_link_s": silent.frames / links / seconds,
        "bytes_a_link_s": (silent.frame_bytes + RECORD_BYTES * silent.frames) / links / seconds,
    }


def _links(crowd: Crowd) -> int:
    return sum(len(member.ends) for member in crowd.members) // 2


def _each(name: str, waves: Sequence[Wave], live: int) -> dict[str, float]:
    """What every write measured, numbered from 0."""
    return {
        f"{name}{number}_{part}": value
        for number, wave in enumerate(waves)
        for part, value in measured(wave, live).items()
    }


def _together(name: str, waves: Sequence[Wave], live: int) -> dict[str, float]:
    """The medians of some writes."""
    found = [measured(wave, live) for wave in waves]
    return {f"{name}_{part}": statistics.median(each[part] for each in found) for part in found[0]}


def measured(wave: Wave, live: int) -> dict[str, float]:
    """What one write came to among so many live nodes, its author among them."""
    others = live - 1
    arrived = sorted(wave.arrived_s.values()) + [GIVEN_UP_S] * (others - len(wave.arrived_s))
    return {
        "p50_ms": 1000 * arrived[others // 2],
        "p99_ms": 1000 * arrived[math.ceil(0.99 * others) - 1],
        "last_ms": 1000 * arrived[-1],
        "coverage_pct": 100 * len(wave.arrived_s) / others,
        "copies": wave.copies / others,
        "frames_a_node": wave.frames / live,
        "bytes_a_node": wave.frame_bytes / live,
    }
