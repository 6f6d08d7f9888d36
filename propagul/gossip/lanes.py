"""Lanes: on which of its links a node wants news pushed, and on which it is enough to be told of them.

Above a full mesh every row reaches a node on several ways. A node asks two of its neighbours to push at once what they
hear (`PUSH`), a third to do so a moment later unless it has heard by then that this is not needed (`SPARE`), and all
others just to tell what they have (`TELL`); what was told and never came is asked for. So a row comes about two and a
half times to a node, a retransmission on one way is covered by another, and only where all of them stall it costs a
question more. Epidemic broadcast trees after Leitao, Pereira, Rodrigues 2007 (Plumtree): a lane is that paper's eager
or lazy link, of each end for itself; its tree is chosen by whose message came first, ours by who is early on average,
which a single lost segment does not upset.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from propagul.crdt import Entry, Origin, Stamp
    from propagul.gossip.events import LinkKey

PUSHING: Final = 2
"""Neighbours that push at once. One more costs a copy of every row, one less doubles how many rows are asked for."""

_RECENT_MAX: Final = 64
_ENTRIES_MAX: Final = 8
_TOGETHER_S: Final = 1.0
_LATE_S_MAX: Final = 0.05
_WEIGHT: Final = 0.2


class Lane(enum.IntEnum):
    """How a node wants to hear of news on a link."""

    TELL = 0
    PUSH = 1
    SPARE = 2


_KEPT_S: Final = {Lane.TELL: 0.0, Lane.SPARE: 0.004, Lane.PUSH: 0.008}
"""By so much a link may be later than another and keep its lane: or two that are equally early would swap for ever."""


@dataclass(slots=True)
class _News:
    """An entry that was new here, when it was first heard of, and by whom it has been said since."""

    stamp: Stamp
    at: float
    said: set[LinkKey] = field(default_factory=set)


class Lanes:
    """Ranks links by how early they bring news. Pure: time comes in.

    Args:
        jitter: Breaks ties.
    """

    __slots__ = ("_jitter", "_late_s", "_recent")

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self._recent: OrderedDict[Origin, _News] = OrderedDict()
        self._late_s: dict[LinkKey, float] = {}

    def heard(self, link: LinkKey, entries: Iterable[Entry], now: float) -> None:
        """A neighbour told or pushed this; more than a few entries at once are no news but a state."""
        few = list(entries)
        for origin, stamp in few if len(few) <= _ENTRIES_MAX else ():
            news = self._recent.get(origin)
            if news is None or stamp > news.stamp:
                news = self._recent[origin] = _News(stamp, now)
                self._recent.move_to_end(origin)
                if len(self._recent) > _RECENT_MAX:
                    self._recent.popitem(last=False)
            if link not in news.said and now - news.at < _TOGETHER_S:
                news.said.add(link)
                self._note(link, min(now - news.at, _LATE_S_MAX))

    def forget(self, link: LinkKey) -> None:
        """That link is gone."""
        self._late_s.pop(link, None)

    def choose(self, held: dict[LinkKey, Lane]) -> dict[LinkKey, Lane]:
        """The lanes of all links; `held` are those they have now, which small differences do not change."""
        keys = list(held)
        self._jitter.shuffle(keys)
        keys.sort(key=lambda link: self._late_s.get(link, _LATE_S_MAX) - _KEPT_S[held[link]])
        chosen = dict.fromkeys(held, Lane.TELL)
        chosen.update((link, Lane.PUSH) for link in keys[:PUSHING])
        chosen.update((link, Lane.SPARE) for link in keys[PUSHING : PUSHING + 1])
        return chosen

    def _note(self, link: LinkKey, late_s: float) -> None:
        before = self._late_s.get(link, _LATE_S_MAX)
        self._late_s[link] = before + _WEIGHT * (late_s - before)
