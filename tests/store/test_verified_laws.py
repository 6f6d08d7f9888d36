"""Laws of verified rows: each is a function of signed words, and honest members agree whatever others do."""

from __future__ import annotations

import pytest

from tests.crdt.histories import LONG
from tests.planted import Mutant, run_mutant, unharmed
from tests.store.verified_simulator import play, play_honestly

SIMULATOR = "tests.store.verified_simulator"
SCHEDULES = 40
TIMEOUT_S = 60.0

MUTANTS = [
    Mutant("a word counts whoever signed it", "store/_batch_proof.py",
           "(maxsize=4096)(verify)", "(maxsize=4096)(lambda *_: True)", 3),
    Mutant("anybody writes with anybody's origin", "store/_batch_proof.py",
           "origin_of(proof.author, proof.salt) != origin or", "", 0),
    Mutant("a word counts under any key", "store/_batch_proof.py", "pack([key, kind])", "pack([kind])", 27),
    Mutant("a word counts as any kind", "store/_batch_proof.py", "pack([key, kind])", "pack([key])", 8),
    Mutant("what was seen is not signed", "store/_batch_proof.py",
           "pack([key, kind]) + _body(seen, value)", "pack([key, kind]) + _body({}, value)", 3),
    Mutant("a batch counts at any time", "store/_batch_proof.py",
           "pack([room, space, stamp, origin,", "pack([room, space, origin,", 9),
    Mutant("a context is believed", "store/_verified.py",
           "return row if proven == row else proven",
           "return row if len(good) == len(row.siblings) else proven", 3),
    Mutant("a removal that nobody signed is believed", "store/_verified.py",
           "return _block((key, row) for key, row in kept if row.siblings)",
           "return _block((key, row if row.siblings else dict(came)[key]) for key, row in kept)", 0),
    Mutant("what a vector covers is not taken", "store/_verified.py",
           "    for word in _words(theirs):",
           "    for word in [word for word in _words(theirs) if not _.covers(word.sibling.dot)]:", 2),
    Mutant("of words that have seen each other none stays", "store/_verified.py",
           "if over[n] <= reached[n] | {n}", "if not over[n]", 0),
    Mutant("a word goes only by one that has seen it itself", "store/_verified.py",
           "reached = [_reached(n, below) for n in range(len(words))]", "reached = below", 36),
    Mutant("of two payloads of a dot the first stays", "store/_verified.py",
           "if held is None or _in_memory(held.sibling.payload) < _in_memory(word.sibling.payload):",
           "if held is None:", 2),
    Mutant("a removal does not say what it has seen", "store/_verified.py",
           "Leaf(op.key, GONE, seen, ABSENT)", "Leaf(op.key, GONE, {}, ABSENT)", 0),
    Mutant("a word tells only of what it superseded itself", "store/_verified.py",
           "for o, s in row.context.items() if o != origin}",
           "for s, o in (sibling.dot for sibling in row.siblings) if o != origin}", 5),
    Mutant("what several words have seen is forgotten", "store/_verified.py",
           "[_Word(sibling, _seen_in(sibling.payload)) for sibling in row.siblings]",
           "[_Word(sibling, {}) for sibling in row.siblings]", 0),
    Mutant("a later word of one origin stands beside the earlier one", "store/_verified.py",
           " or (mine.origin == origin and mine.stamp > stamp)", "", 4),
    Mutant("as many words are the same words", "store/_verified.py",
           "joined.siblings == ours.siblings", "len(joined.siblings) == len(ours.siblings)", 1),
    Mutant("a snapshot join is taken", "store/_streams.py",
           "if join is not None and self._space.sealed is not None and self._space.sealed.is_whole:", "if False:", 0),
    Mutant("rows that nobody watches are joined as any others", "crdt/merge.py",
           'apart is not None and "" in apart.prefixes', "False", 43),
]  # fmt: skip


def test_honest_members_agree_on_what_the_signed_words_say() -> None:
    """Whatever was written, removed and told in which order, and whatever a hostile member signed and sent."""
    for seed in range(150 if LONG else 50):
        play(seed)


def test_where_nobody_lies_a_row_is_what_no_word_had_seen() -> None:
    """Of all words ever signed, not only of those that are held; and rows are told by vectors alone."""
    for seed in range(100 if LONG else 40):
        play_honestly(seed)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_simulator_kills(mutant: Mutant) -> None:
    last_line = run_mutant(mutant, SIMULATOR, mutant.seed, SCHEDULES, TIMEOUT_S)
    assert last_line, f"survived {SCHEDULES} schedules from seed {mutant.seed} on"
    assert last_line.startswith("replay: "), f"died of something else: {last_line}"


def test_the_library_as_it_is_survives_the_same_procedure() -> None:
    assert not run_mutant(unharmed("store/_verified.py", "is_whole = True"), SIMULATOR, 0, 3, TIMEOUT_S)
