"""What was said of a task, and what counts of it. Pure functions.

Whoever does something with a task writes one *word* into its state row. Words that did not see each other are siblings
there. The rule of this file: *what counts is a function of the siblings alone*, so replicas with the same rows agree.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Phase(enum.StrEnum):
    """What a task is at."""

    OPEN = "open"
    CLAIMED = "claimed"
    FAILED = "failed"
    """Given up after too many attempts, until somebody has it tried again."""
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What one agent said of a task.

    Attributes:
        phase: What it is at.
        agent, node, session: Who said so, where, and in which stay in the room; empty for a task nobody touched.
        claim: Of which claim this came; empty likewise.
        attempt: How many claims there were of it, as far as the agent saw; those given back are not counted.
        result: With what it ended: the result of a task that is done, the reason of one that failed.
    """

    phase: Phase = Phase.OPEN
    agent: str = ""
    node: str = ""
    session: str = ""
    claim: str = ""
    attempt: int = 0
    result: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as this replica sees it.

    Attributes:
        id: Its name.
        payload: What is to be done; None once it is done: then nobody needs it.
        needs: Capabilities that it takes.
        word: What it is at, by whom, and with what result.
        rivals: What others said without having seen that: claims and results that do not count.
    """

    id: str
    payload: object
    needs: frozenset[str]
    word: Word
    rivals: tuple[Word, ...] = ()

    @property
    def contested(self) -> bool:
        """Whether several claimed it, or finished it, without knowing of each other."""
        return any(word.phase in (Phase.CLAIMED, Phase.DONE) for word in self.rivals)


UNTOUCHED: Final = Word()

_ATTEMPTS_MAX: Final = 2**31

_RANK: Final = {Phase.DONE: 0, Phase.FAILED: 1, Phase.CLAIMED: 2, Phase.OPEN: 3}


def settled(words: Sequence[Word]) -> Word:
    """The word that counts, of those that did not see each other, given newest first.

    Done before failed before claimed before open; of equals the earliest.
    """
    return min(reversed(words), key=lambda word: _RANK[word.phase], default=UNTOUCHED)


def task_of(name: str, todo: Sequence[object], state: Sequence[object]) -> Task | None:
    """A task out of the values of its two rows, newest first; None if there is nothing to do and nothing was done."""
    words = words_in(state)
    counts = settled(words)
    if not todo and counts.phase is not Phase.DONE:
        return None
    payload, needs = _content(todo[0]) if todo else (None, frozenset[str]())
    rivals = tuple(word for word in words if word is not counts)
    return Task(id=name, payload=payload, needs=needs, word=counts, rivals=rivals)


def written(word: Word) -> dict[str, object]:
    """A word as the value of a row."""
    return {**asdict(word), "phase": word.phase.value}


def words_in(values: Iterable[object]) -> list[Word]:
    """The words in the values of a row; what is none is left out: it came from another machine."""
    return [word for word in map(_word, values) if word is not None]


def _word(value: object) -> Word | None:
    match value:
        case {
            "phase": str(phase),
            "agent": str(agent),
            "node": str(node),
            "session": str(session),
            "claim": str(claim),
            "attempt": int(attempt),
            "result": result,
        } if phase in _RANK and 0 <= attempt < _ATTEMPTS_MAX:
            return Word(
                phase=Phase(phase),
                agent=agent,
                node=node,
                session=session,
                claim=claim,
                attempt=attempt,
                result=result,
            )
    return None


def _content(value: object) -> tuple[object, frozenset[str]]:
    """Payload and needs of a task; what is not as it should be came from another machine."""
    match value:
        case {"payload": payload, "needs": list(needs)}:
            return payload, frozenset(need for need in needs if isinstance(need, str))
    return value, frozenset()
