"""What counts of what was said of a task: a function of the siblings alone."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.room import Phase, Word
from propagul.room._work import UNTOUCHED, settled, task_of, words_in, written

WORDS = st.builds(
    Word,
    phase=st.sampled_from(list(Phase)),
    agent=st.text(max_size=3),
    claim=st.text("abc", max_size=2),
    attempt=st.integers(0, 5),
    result=st.none() | st.integers(0, 3),
)


def said(phase: Phase, claim: str = "c") -> Word:
    return Word(phase=phase, claim=claim)


def test_done_counts_before_failed_before_claimed_before_open() -> None:
    ranked = [said(phase) for phase in (Phase.DONE, Phase.FAILED, Phase.CLAIMED, Phase.OPEN)]
    for size in range(1, 5):
        for words in permutations(ranked, size):
            assert settled(words) == min(words, key=ranked.index)
    assert settled([]) == UNTOUCHED
    assert UNTOUCHED.phase is Phase.OPEN


def test_of_equals_the_earliest_counts() -> None:
    newest_first = [said(Phase.CLAIMED, "newest"), said(Phase.OPEN), said(Phase.CLAIMED, "earliest")]
    assert settled(newest_first).claim == "earliest"


@given(WORDS)
def test_a_word_is_read_back_as_it_was_written(word: Word) -> None:
    assert words_in([written(word)]) == [word]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "open",
        {},
        {**written(UNTOUCHED), "phase": "lost"},
        {**written(UNTOUCHED), "attempt": -1},
        {**written(UNTOUCHED), "attempt": 2**40},
        {**written(UNTOUCHED), "claim": 7},
    ],
)
def test_what_is_no_word_says_nothing(value: object) -> None:
    assert words_in([value, written(said(Phase.DONE))]) == [said(Phase.DONE)]


def test_a_word_of_a_newer_version_is_read_without_what_it_adds() -> None:
    assert words_in([{**written(said(Phase.CLAIMED)), "deadline": 5}]) == [said(Phase.CLAIMED)]


def test_a_task_is_there_while_there_is_something_to_do_or_something_was_done() -> None:
    todo, claimed, done = {"payload": "p", "needs": ["n", 5]}, written(said(Phase.CLAIMED)), written(said(Phase.DONE))
    assert task_of("t", [], []) is task_of("t", [], [claimed]) is None
    task = task_of("t", [todo], [])
    assert task is not None
    assert (task.payload, sorted(task.needs), task.word, task.contested) == ("p", ["n"], UNTOUCHED, False)
    finished = task_of("t", [], [claimed, done])
    assert finished is not None
    assert finished.payload is None
    assert (finished.word.phase, finished.contested) == (Phase.DONE, True)
    strange = task_of("t", ["just a text"], [])
    assert strange is not None
    assert strange.payload == "just a text"
    assert not strange.needs
