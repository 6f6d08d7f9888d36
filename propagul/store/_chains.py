"""Whether the batches of each origin that were seen here are one chain, as those of an honest author are.

Batches that a chain cannot hold together are two histories: their author told different things to different members.
What it signed is kept as it is, everywhere the same; here it is found out and counted. Only the newest batches are
remembered, so it is found where the two meet, which they do wherever both are news.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from propagul.crdt import Origin
    from propagul.store._batch_proof import Link

ORIGINS_MAX: Final = 1024
BATCHES_MAX: Final = 16


class _Batch(NamedTuple):
    before: Link
    link: Link

    def contradicts(self, other: _Batch) -> bool:
        """Whether no chain holds both: one stamp, two hashes, or a batch where the other says that there is none."""
        return any(
            (mine.link.stamp == known.stamp and mine.link.hash != known.hash)
            or theirs.before.stamp < mine.link.stamp < theirs.link.stamp
            for mine, theirs in ((self, other), (other, self))
            for known in theirs
        )


class Chains:
    """The newest batches of the origins that were heard of last."""

    def __init__(self) -> None:
        self._known: OrderedDict[Origin, list[_Batch]] = OrderedDict()

    def fits(self, origin: Origin, before: Link, link: Link) -> bool:
        """Remember a batch; return False if it and one that is remembered cannot both be of one chain."""
        batch, known = _Batch(before, link), self._known.pop(origin, [])
        self._known[origin] = known
        if batch in known:
            return True
        contradicted = any(batch.contradicts(other) for other in known)
        known.append(batch)
        known.sort(key=lambda held: held.link.stamp, reverse=True)
        del known[BATCHES_MAX:]
        if len(self._known) > ORIGINS_MAX:
            self._known.popitem(last=False)
        return not contradicted
