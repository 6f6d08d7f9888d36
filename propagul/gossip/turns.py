"""Who is sent a long stream: so many links at once, and the others in the order in which they asked.

Whoever serves twelve joiners at once serves none of them soon, reads twelve captures of its rows and keeps what is
changed meanwhile for each. So the fifth waits until one of four is through, or is gone, or has had its time: a peer
that takes its rows slowly goes on with them and is not counted any more. What fits into one frame asks for no turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from propagul.gossip.events import LinkKey

AT_ONCE: Final = 4
"""Raising it lets more peers wait for longer; lowering it leaves a fast link idle behind slow ones."""

TURN_S: Final = 30.0
"""Nobody waits for another one for longer than this."""


class Turns:
    """The line of those who are, or would be, sent a long stream.

    Attributes:
        now: The time by the caller's clock, which keeps it right.
    """

    __slots__ = ("_line", "now")

    def __init__(self) -> None:
        self._line: list[Turn] = []
        self.now = 0.0

    def called(self) -> list[LinkKey]:
        """Links on which one that waited may begin; each is named once."""
        due = [turn for turn in self._line[:AT_ONCE] if turn.began is None]
        for turn in due:
            turn.began = self.now
        return [turn.link for turn in due]

    def lapse(self) -> None:
        """While others wait, count those no more who have had their time."""
        for turn in self._line[:AT_ONCE] if len(self._line) > AT_ONCE else ():
            if turn.began is not None and self.now - turn.began >= TURN_S:
                turn.leave()

    def next_lapse(self) -> float:
        """When to call that; infinity while nobody waits."""
        due = [turn.began + TURN_S for turn in self._line[:AT_ONCE] if turn.began is not None]
        return min(due) if len(self._line) > AT_ONCE and due else float("inf")

    def _admit(self, turn: Turn) -> None:
        if turn not in self._line:
            self._line.append(turn)
        if turn.began is None and turn in self._line[:AT_ONCE]:
            turn.began = self.now

    def _remove(self, turn: Turn) -> None:
        turn.began = None
        if turn in self._line:
            self._line.remove(turn)

    def _holds(self, turn: Turn) -> bool:
        return turn in self._line


class Turn:
    """The place in that line of one namespace on one link.

    Attributes:
        began: When it may begin, or might have; None while it waits or has nothing to wait for.
    """

    __slots__ = ("_turns", "began", "link")

    def __init__(self, turns: Turns, link: LinkKey) -> None:
        self._turns = turns
        self.link = link
        self.began: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it stands in the line and may not begin."""
        return self.began is None and self._turns._holds(self)  # noqa: SLF001 - one class in two halves

    @property
    def now(self) -> float:
        """The time by the caller's clock."""
        return self._turns.now

    def take(self) -> bool:
        """Stand in the line, and begin if that is possible at once; `Turns.called` says when it is, if not."""
        self._turns._admit(self)  # noqa: SLF001 - one class in two halves
        return self.began is not None

    def leave(self) -> None:
        """It is through. Idempotent."""
        self._turns._remove(self)  # noqa: SLF001 - one class in two halves
