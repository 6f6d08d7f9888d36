"""The simulators of gossip find planted bugs: each mutant of the library fails within a bounded number of schedules.

The seed stored with it kills it today; where a change to a simulator moves its random choices, the schedules behind it
still have a chance. What random schedules meet too seldom is killed by a test that is written for it, which is named in
place of a seed, or searched for by `make test-all`. Bugs of comparing are for the simulator with a liar in it
(`audit`); bugs of rows, vectors and floors are planted in `tests/state`. `python -m tests.gossip.test_mutations` finds
the seeds.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

from tests import planted
from tests.planted import RARE, run_in, run_mutant, unharmed

SIMULATOR, AUDIT = "tests.gossip.simulator", "tests.gossip.audit"
SCHEDULES, SCHEDULES_LONG = 25, 3000
TIMEOUT_S, TIMEOUT_LONG_S = 60, 1200

JOIN = "test_schedules.py::test_a_snapshot_join_that_goes_on_holds_what_the_peer_has_and_removes_what_is_gone"
INSTANT = "test_schedules.py::test_a_stream_that_is_read_in_slices_is_of_the_instant_at_which_it_was_cut"
ASKING = "test_schedules.py::test_who_is_told_of_something_where_links_are_few_asks_for_it_soon"
AGAIN = "test_quota.py::test_whoever_links_again_goes_on_where_it_was_until_the_hour_is_over"
SPARE = "test_traffic.py::test_who_wants_news_a_moment_later_is_sent_it_then"
ANSWER = "test_asking.py::test_a_patient_telling_is_not_answered_and_its_rows_are_sent_when_asked_for"
TURN = "test_asking.py::test_one_is_asked_at_a_time_in_the_order_in_which_they_told"
GONE = "test_asking.py::test_the_turn_of_a_link_that_is_gone_is_the_next_ones"
SILENT = "test_asking.py::test_who_does_not_answer_is_waited_for_so_long_and_no_longer"
BEHIND = "test_asking.py::test_a_question_is_not_lost_when_a_push_goes_before_it"
JOINED = "test_asking.py::test_what_a_peer_tells_of_while_its_rows_wait_to_be_joined_is_asked_for_then"
CHANCE = "test_asking.py::test_lanes_are_chosen_by_news_that_does_not_wait"


class Mutant(NamedTuple):
    """A planted bug, the first seed or the test that kills it, and the simulator in which the seed does."""

    name: str
    file: str
    old: str
    new: str
    killer: int | str
    simulator: str = SIMULATOR

    @property
    def bug(self) -> planted.Mutant:
        """The same without what kills it."""
        return planted.Mutant(self.name, self.file, self.old, self.new, 0)


MUTANTS = [
    Mutant(
        "the vector is adopted from a digest, without its rows", "gossip/exchange.py",
        "self._unadopted.update(",
        "self._source.incoming().apply(list(digest.entries), None) or self._unadopted.update(", 0,
    ),
    Mutant(
        "the vector is adopted without its last entry", "gossip/stage.py",
        "self.incoming.apply(list(self.adopt.items()), join)",
        "self.incoming.apply(list(self.adopt.items())[:-1], join)", 0,
    ),
    Mutant(
        "the place of a peer skips a change", "gossip/exchange.py",
        "self._place, self._told = cut.arrival,", "self._place, self._told = cut.arrival + 1,", 0,
    ),
    Mutant(
        "the place from which own writes are pushed skips a change", "gossip/exchange.py",
        "self._own_place = own.arrival", "self._own_place = own.arrival + 1", 1,
    ),
    Mutant(
        "a new link does not serve what is older than itself", "gossip/exchange.py",
        "self._told = self._place = self._own_place = 0",
        "self._told = self._own_place = 0\n        self._place = source.arrival", 0,
    ),
    Mutant(
        "'same' is taken for the vector of now, not of the hello", "gossip/exchange.py",
        "self.theirs = self._hello_vector", "self.theirs = self._source.hello()[1]", 6,
    ),
    Mutant(
        "a push is taken for all that was told", "gossip/stage.py",
        "self.begin(dict(announced.entries))", "self.begin(dict(told))", 369,
    ),
    Mutant(
        "a push of one message is taken for all that was told", "gossip/exchange.py",
        "begin_push({dot.origin: dot.stamp}", "begin_push({**self._unadopted, dot.origin: dot.stamp}", 83,
    ),
    Mutant(
        "an acknowledged push is taken for all that we have", "gossip/exchange.py",
        "self.theirs.join(self._implied)", "self.theirs.join(self._source.hello()[1])", 0,
    ),
    Mutant(
        "an acknowledgement hides more than what was pushed", "gossip/exchange.py",
        "[entry for entry in entries if entry not in said]", "[] if said else entries", 80,
    ),
    Mutant(
        "a push is of the stamp before", "gossip/messages.py",
        "self.block + codec.ending(dot)", "self.block + codec.ending(Dot(wire.as_stamp(dot.stamp - 1), dot.origin))", 0,
    ),
    Mutant(
        "who lacks something does not ask", "gossip/exchange.py",
        "return not digest.rows_follow and self.lags", "return False", 0,
    ),
    Mutant(
        "news is not passed on", "gossip/node.py",
        "if exchange.peer_sent(message):", "if exchange.peer_sent(message) and False:", 0,
    ),
    Mutant(
        "what was told and not sent is forgotten", "gossip/exchange.py",
        "            self._unsure.update(entries if self.course.gives else ())\n", "", 0,
    ),
    Mutant(
        "a push stands for more than one origin", "gossip/exchange.py",
        "len(self._unsure) == 1", "(len(self._unsure) == 1 or len(self._unsure) == 2 and self._unsure.popitem())", 0,
    ),
    Mutant(
        "who wants news at once gets none", "gossip/relay.py",
        "                exchange.owes_delta = True\n                at_once", "                at_once", 0,
    ),
    Mutant(
        "who wants news a moment later gets none", "gossip/relay.py",
        "exchange.relay_at = min(", "_ = min(", SPARE,
    ),
    Mutant(
        "who waits before asking never asks", "gossip/relay.py",
        "exchange.tell_at = min(exchange.tell_at, ask_at)", "pass", ASKING,
    ),
    Mutant(
        "nobody is told where links are few", "gossip/relay.py",
        "exchange.tell_at = min(exchange.tell_at, now + self._spread(self._delay_s(space)))", "pass", 0,
    ),
    Mutant(
        "a full disk is taken for success", "gossip/exchange.py",
        "        news = stage.apply()\n",
        "        try:\n            news = stage.apply()\n        except Exception:\n            news = False\n", 1,
    ),
    Mutant(
        "a snapshot join is adopted as a delta", "gossip/exchange.py",
        "join=cut.join is not None,", "join=False,", 5,
    ),
    Mutant(
        "the last block of a stream is not applied", "store/_streams.py",
        "rows = self._blocks if self._offer", "rows = self._blocks[:-1] if self._offer", 1,
    ),
    Mutant(
        "staged blocks are forgotten at the end of their stream", "store/_streams.py",
        "            self._offer.add(block if journal.has_room(staged.bytes) else left(block, number))\n",
        "            number\n", 0,
    ),
    Mutant(
        "a stream in slices is not of one instant", "store/_streams.py",
        "block = self._cut.read(_SLICE_ROWS)",
        "self._cut._capture._former.clear(); block = self._cut.read(_SLICE_ROWS)", INSTANT,
    ),
    Mutant(
        "a stream goes on although the floor rose", "crdt/replica.py",
        "is_ours = held.arrival <= self.arrival and self.cursor_floor <= held.arrival",
        "is_ours = held.arrival <= self.arrival", 30,
    ),
    Mutant(
        "rows that changed before the position are forgotten", "crdt/table.py",
        "chosen = list(map(first.__gt__, changed))", "chosen = [False] * len(changed)", 7,
    ),
    Mutant(
        "a position is told before its rows", "gossip/stream.py",
        "self._ends[0][0] <= self._out:", "self._ends[0][0] <= self._out + 64:", 0,
    ),
    Mutant(
        "a snapshot join goes on as what the peer lacks", "crdt/replica.py",
        "told, join, Lacks(None if join else known), below", "told, join, Lacks(known), below", JOIN,
    ),
    Mutant(
        "what goes on is adopted by the vector of the old cut", "gossip/stage.py",
        "self.begin_full(dict(told), theirs.copy() if announced.join else None, goes_on",
        "self.begin_full({} if announced.goes_on else told, theirs.copy() if announced.join else None, goes_on", 495,
    ),
    Mutant(
        "what goes on as a join keeps the old cut's vector", "gossip/stage.py",
        "theirs.copy() if announced.join else None, goes_on=",
        "(type(theirs)() if announced.goes_on else theirs.copy()) if announced.join else None, goes_on=", JOIN,
    ),
    Mutant(
        "what is named again does not replace the older row", "crdt/bulk.py",
        "by_key.update(zip([plain[0] for plain in plains], count(place), strict=False))",
        "list(map(by_key.setdefault, [plain[0] for plain in plains], count(place)))", 209,
    ),
    Mutant(
        "the log reads a join that went on from its beginning", "log/fold.py",
        "decoded = chain(reversed(last), chain.from_iterable(before))",
        "decoded = reversed(list(chain(reversed(last), chain.from_iterable(before))))", 1380,
    ),
    Mutant(
        "what a bad stream left is kept", "gossip/spaces.py",
        "if held is not None and is_sound:", "if held is not None:", 304,
    ),
    Mutant(
        "who waited for a turn is not called", "gossip/node.py",
        "return [*effects, *map(Ready, self._spaces.turns.called())]", "return effects", 0,
    ),
    Mutant(
        "another link begins a new account", "gossip/quota.py",
        "self._accounts.pop((node, space), None) or _Account()", "_Account()", AGAIN,
    ),
    Mutant(
        "who wants nothing is sent rows", "gossip/directions.py",
        "and theirs is not Direction.UP", "", 400,
    ),
    Mutant(
        "who sends nothing sends rows", "gossip/directions.py",
        "self.gives = self.ours is not Direction.DOWN and", "self.gives =", 404,
    ),
    Mutant(
        "who sends no rows tells of them", "gossip/exchange.py",
        "return self.course.answers(self._source), self._told", "pass", 400,
    ),
    Mutant(
        "what was told is not answered", "gossip/directions.py",
        "bool(self.answers(source)) or (first and self.takes)", "first and self.takes", 414,
    ),
    Mutant(
        "the first telling is not answered", "gossip/directions.py",
        "bool(self.answers(source)) or (first and self.takes)", "bool(self.answers(source))", 404,
    ),
    Mutant(
        "an answer names what is not here yet", "gossip/directions.py",
        "if source.covers([entry])]", "]", 400,
    ),
    Mutant(
        "of two that send nothing each waits for the other", "gossip/directions.py",
        "return self.gives or not self.takes", "return self.gives", 404,
    ),
    Mutant(
        "who may wait never asks", "gossip/asking.py", "exchange.ask()", "pass", 106,
    ),
    Mutant(
        "a question is forgotten", "gossip/exchange.py",
        "self.owes_digest = self._asks = True", "self.owes_digest = True", 100,
    ),
    Mutant(
        "a push that is told of takes a question with it", "gossip/exchange.py",
        "self.asks_always or (asks and is_push)", "self.asks_always", BEHIND,
    ),
    Mutant(
        "what was told while rows came is not asked for", "gossip/patient.py",
        "if came and self.lags:", "if False:", JOINED,
    ),
    Mutant(
        "the next one is never asked", "gossip/asking.py",
        "None, now if self._told else NEVER", "None, NEVER", TURN,
    ),
    Mutant(
        "all are asked at once", "gossip/asking.py",
        "self._asked, self.at = link, now + self._patience_s", "self.at = now if self._told else NEVER", TURN,
    ),
    Mutant(
        "who is gone is waited for", "gossip/asking.py", "        self.answered(link, now)\n", "", GONE,
    ),
    Mutant(
        "for an answer one waits for ever", "gossip/asking.py", "now + self._patience_s", "NEVER", SILENT,
    ),
    Mutant(
        "a patient telling is answered", "gossip/exchange.py",
        "(digest.only_these or digest.patient)", "digest.only_these", ANSWER,
    ),
    Mutant(
        "lanes are chosen by what may wait", "gossip/relay.py",
        "self.sparse and entries and space not in self._asking", "self.sparse and entries", CHANCE,
    ),
    Mutant(
        "entries that no row is left of are not passed on", "gossip/exchange.py",
        "is not None or not self._has_all", "is not None", RARE, AUDIT,
    ),
    Mutant(
        "nobody begins to compare", "gossip/compare.py",
        "self._begins = is_quiet", "self._begins = False", 0, AUDIT,
    ),
    Mutant(
        "who is shown another total is silent", "gossip/compare.py",
        "theirs.sums not in (sums, _total(sums))", "theirs.sums not in (sums, theirs.sums[:8])", RARE, AUDIT,
    ),
    Mutant(
        "who is shown sums sends no rows", "gossip/compare.py",
        "        if not self._has_shown:\n            differing", "        if False:\n            differing",
        0, AUDIT,
    ),
    Mutant(
        "who is shown sums sends rows and wants none", "gossip/compare.py",
        "len(theirs.sums) == SUM_BYTES or not self._has_shown:", "len(theirs.sums) == SUM_BYTES:", RARE, AUDIT,
    ),
    Mutant(
        "the last bucket is not compared", "gossip/compare.py",
        "for bucket in range(SUMS) if", "for bucket in range(SUMS - 1) if", 0, AUDIT,
    ),
    Mutant(
        "rows come as any stream does, by the vector", "gossip/compare.py",
        "if block and self._rows.mend(block):",
        "if block and ((stream := self._source.incoming()).add(block) or stream.apply([], None)):", 0, AUDIT,
    ),
    Mutant(
        "the rest of a block is lost between two pieces", "gossip/compare.py",
        "        if not mend.last:\n", "        self._assembler = Assembler()\n        if not mend.last:\n", 0, AUDIT,
    ),
    Mutant(
        "sums that were shown once are never shown again", "gossip/compare.py",
        "self._has_shown = len(theirs.sums) == SUM_BYTES", "self._has_shown = True", RARE, AUDIT,
    ),
]  # fmt: skip


def run_tests(mutant: planted.Mutant, *tests: str) -> str:
    """Run tests against the bug; return the last line, empty if it survived."""
    with planted.planted(mutant, tested=True) as copy:
        alone = ("-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(copy))
        child = run_in(copy, TIMEOUT_S, "pytest", *alone, *(f"tests/gossip/{test}" for test in tests))
        return "" if child.returncode == 0 else child.stdout.strip().splitlines()[-1]


COMMON = [mutant for mutant in MUTANTS if mutant.killer != RARE]
TESTS = sorted({mutant.killer for mutant in MUTANTS if isinstance(mutant.killer, str)})
UNCOMMON = [mutant for mutant in MUTANTS if mutant.killer == RARE]


@pytest.mark.parametrize("mutant", COMMON, ids=[mutant.name for mutant in COMMON])
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    if isinstance(mutant.killer, int):
        last_line = run_mutant(mutant.bug, mutant.simulator, mutant.killer, SCHEDULES, TIMEOUT_S)
        assert last_line, f"survived {SCHEDULES} schedules from seed {mutant.killer} on"
        assert last_line.startswith("replay: "), f"died of something else: {last_line}"
    else:
        last_line = run_tests(mutant.bug, mutant.killer)
        assert last_line, f"survived {mutant.killer}"
        assert last_line.startswith("1 failed"), f"died of something else: {last_line}"


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_LONG_S)
@pytest.mark.parametrize("mutant", UNCOMMON, ids=[mutant.name for mutant in UNCOMMON])
def test_a_planted_bug_is_found_in_the_end(mutant: Mutant) -> None:
    last_line = run_mutant(mutant.bug, mutant.simulator, 0, SCHEDULES_LONG, TIMEOUT_LONG_S)
    assert last_line.startswith("replay: "), last_line or f"survived {SCHEDULES_LONG} schedules"


def test_the_library_as_it_is_survives_the_same_procedure() -> None:
    harmless = unharmed("crdt/row.py", "EMPTY = Row((), {})")
    assert not run_mutant(harmless, SIMULATOR, 0, 3, TIMEOUT_S)
    assert not run_mutant(harmless, AUDIT, 0, 3, TIMEOUT_S)
    assert not run_tests(harmless, *TESTS)


if __name__ == "__main__":
    for mutant in MUTANTS:
        if isinstance(mutant.killer, int):
            print(mutant.name, "|", run_mutant(mutant.bug, mutant.simulator, 0, 400, TIMEOUT_LONG_S) or "SURVIVED")
