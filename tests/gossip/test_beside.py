"""What goes over the links between the processes of one directory, in virtual time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from propagul.gossip import GossipConfig, decoding, messages
from tests.gossip.simulator import Simulation

if TYPE_CHECKING:
    from propagul.crdt import VersionVector
    from propagul.gossip import Outgoing

CONFIG = GossipConfig()
PER_S = 40
PAIRS = [(a, b) for a in range(4) for b in range(a)]


def room(nodes: int, *links: tuple[int, int], processes: tuple[int, ...]) -> Simulation:
    """Nodes that are linked so, of which some are processes of one directory, and nothing is new to anybody."""
    simulation = Simulation(1, nodes=nodes, lan=True, spaces=("",), processes=processes)
    for a, b in links:
        simulation.connect(a, b)
    simulation.run(20.0)
    return simulation


def frames_from(simulation: Simulation, sender: int, receiver: int) -> list[messages.Message | None]:
    """What one node sends another from now on."""
    frames: list[messages.Message | None] = []

    def note(source: int, target: int, frame: bytes) -> None:
        if (source, target) == (sender, receiver):
            frames.append(decoding.decode(frame))

    simulation.tap = note
    return frames


def until_equal(simulation: Simulation, patience_s: float) -> float:
    began = simulation.now
    while not simulation.is_equal():
        assert simulation.now - began < patience_s, f"not within {patience_s} s"
        simulation.run(simulation.now + 0.02)
    return simulation.now - began


@pytest.mark.parametrize("gap_s", [0.005, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_processes_that_all_write_send_each_row_once_to_each(seed: int, gap_s: float) -> None:
    """Measured: 1.00 copies, and 1.9 of writes at once between members that are no processes of one directory."""
    four, writes, delay = room(4, *PAIRS, processes=(0, 1, 2, 3)), 200 if gap_s < 1 else 60, random.Random(seed)
    four.latency = lambda: delay.uniform(0.001, 0.01)  # type: ignore[method-assign]  # so that acknowledgements cross
    copies = {b"a value like no other %3d" % number: 0 for number in range(writes)}

    def count(_sender: int, _receiver: int, frame: bytes) -> None:
        for payload in copies:
            copies[payload] += payload in frame

    four.tap = count
    for number, payload in enumerate(copies):
        four.write(number % 4, "", f"k{number}", payload)
        four.run(four.now + gap_s)
    until_equal(four, 1.0)
    four.run(four.now + 5.0)
    assert min(copies.values()) >= 3
    assert sum(copies.values()) <= 3 * writes * 1.1


def test_what_comes_from_another_machine_is_sent_to_the_other_processes_unasked() -> None:
    trio = room(3, (0, 1), (1, 2), processes=(1, 2))
    answered = frames_from(trio, 2, 1)
    trio.write(0, "", "k0", b"news")
    took_s = until_equal(trio, 1.0)
    assert took_s < CONFIG.announce_delay_s * 1.2 + 0.005
    trio.run(trio.now + 0.01)
    assert [message.applied for message in answered if isinstance(message, messages.Digest)] == [True]
    assert len(answered) == 1


def test_a_process_that_is_not_linked_with_the_author_has_its_rows_from_another_one() -> None:
    chain = room(3, (0, 1), (1, 2), processes=(0, 1, 2))
    chain.write(0, "", "k0", b"news")
    assert until_equal(chain, 5.0) > CONFIG.process_patience_s * 0.8, "everybody is told what it hears from the author"
    assert chain.sources[2][""].shown() == {"k0": {b"news"}}


def test_on_a_new_link_both_are_sent_at_once_what_the_other_has_whoever_wrote_it() -> None:
    trios = room(6, (0, 2), (0, 4), (1, 3), (1, 5), processes=tuple(range(6)))
    for number in range(9):
        for author in (2, 3, 4, 5):
            trios.write(author, "", f"{author}/{number}", b"x" * 100)
    trios.run(trios.now + 5.0)
    trios.connect(1, 0)
    trios.run(trios.now + 0.02)
    assert trios.sources[0][""].known == trios.sources[1][""].known
    assert len(trios.sources[0][""].known) == 36


def test_a_push_looks_at_what_has_come_since_the_one_before() -> None:
    """Though nothing else than pushes tells that the other has what is older."""
    pair = room(2, (0, 1), processes=(0, 1))
    source, begun = pair.sources[0][""], []
    cut_own = source.cut_own

    def note(*, after: int, known: VersionVector) -> Outgoing | None:
        begun.append(source.arrival - after)
        return cut_own(after=after, known=known)

    source.cut_own = note  # type: ignore[method-assign]  # it looks on
    for number in range(50):
        pair.write(0, "", f"k{number}", b"x")
        pair.write(1, "", f"l{number}", b"x")
        pair.run(pair.now + 0.01)
    assert len(begun) >= 50
    assert max(begun) <= 4


def busy_chain(*, asks: bool) -> Simulation:
    """Three processes that all write, of which the outer two are not linked; the last one asks, or never by itself."""
    chain = room(3, (0, 1), (1, 2), processes=(0, 1, 2))
    for number in range(5 * PER_S):
        chain.write(0, "", f"far {number}", b"x")
        chain.write(1, "", "near", b"%d" % number)
        chain.write(2, "", "here", b"%d" % number)
        chain.run(chain.now + 1 / PER_S)
        for peer in () if asks else chain.nodes[2]._peers.values():
            peer.exchanges[""].tell_at = float("inf")
    return chain


def test_while_all_write_a_process_that_is_not_linked_with_an_author_stays_less_than_three_patiences_behind() -> None:
    chain = busy_chain(asks=True)
    here = sum(key.startswith("far") for key in chain.sources[2][""].shown())
    assert here > (5 - 3 * CONFIG.process_patience_s) * PER_S
    until_equal(chain, 5.0)


def test_a_question_that_went_with_an_acknowledgement_is_answered_too() -> None:
    """As long as all write, every digest acknowledges something."""
    until_equal(busy_chain(asks=False), 10.0)
