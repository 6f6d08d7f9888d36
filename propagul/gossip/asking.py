"""Of whom a node asks what it lacks, where rows may wait: of one neighbour at a time.

In a sparse room a row is told of on several links at about the same time. Whoever asks on all of them gets it as often;
whoever asks the first and waits for the answer gets it once, and with it most of what the others told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.gossip.exchange import NEVER

if TYPE_CHECKING:
    from propagul.gossip.events import LinkKey
    from propagul.gossip.exchange import Exchange


class Asking:
    """Who is asked, and who is next, in one namespace. Pure: time comes in.

    Args:
        delay_s: Who tells while nobody is asked is asked so long after: what was pushed may be just behind.
        patience_s: Nobody is waited for longer than this.

    Attributes:
        at: When to call `due`; infinity while nobody is to be asked.
    """

    __slots__ = ("_asked", "_delay_s", "_patience_s", "_told", "at")

    def __init__(self, delay_s: float, patience_s: float) -> None:
        self._delay_s, self._patience_s = delay_s, patience_s
        self._told: dict[LinkKey, Exchange] = {}
        self._asked: LinkKey | None = None
        self.at = NEVER

    def told(self, link: LinkKey, exchange: Exchange, now: float) -> None:
        """A neighbour has told of what we lack."""
        self._told[link] = exchange
        if self._asked is None:
            self.at = min(self.at, now + self._delay_s)

    def answered(self, link: LinkKey, now: float) -> None:
        """A neighbour has sent rows, or is gone."""
        if link == self._asked:
            self._asked, self.at = None, now if self._told else NEVER

    def forget(self, link: LinkKey, now: float) -> None:
        """That link is gone."""
        self._told.pop(link, None)
        self.answered(link, now)
        if self._asked is None and not self._told:
            self.at = NEVER

    def due(self, now: float) -> LinkKey | None:
        """Ask the next one, if it is time; return who owes the question."""
        while self.at <= now:
            link = next(iter(self._told), None)
            if link is None:
                self._asked, self.at = None, NEVER
                return None
            exchange = self._told.pop(link)
            if exchange.lags:
                exchange.ask()
                self._asked, self.at = link, now + self._patience_s
                return link
        return None
