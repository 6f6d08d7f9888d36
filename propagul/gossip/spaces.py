"""The namespaces of a node: what all its links share of each, and what a link begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.gossip.beside import ExchangeBeside
from propagul.gossip.compare import Comparison
from propagul.gossip.directions import Course, Direction
from propagul.gossip.exchange import Exchange
from propagul.gossip.patient import ExchangePatient
from propagul.gossip.quota import Quotas
from propagul.gossip.stage import HeldStreams
from propagul.gossip.turns import Turn, Turns
from propagul.link.local import is_local

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Mapping

    from propagul.gossip.events import LinkUp, Source
    from propagul.link.base import NodeId


class Spaces:
    """The namespaces by name.

    Args:
        sources: Their rows.
        directions: What this node wants of those that it does not just share.
        patient: Those whose rows may wait.
        patience_s: How long the processes of one directory wait for each other; see `GossipConfig.process_patience_s`.

    Attributes:
        sources: As above.
        turns: Whose turn it is to be sent a long stream.
        held: What is kept of streams that broke off.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        directions: Mapping[str, Direction],
        patient: Collection[str],
        patience_s: float,
    ) -> None:
        self.sources = sources
        self.turns, self.held = Turns(), HeldStreams()
        self._quotas = Quotas()
        self._directions, self._patient, self._patience_s = directions, patient, patience_s

    def exchanges(self, event: LinkUp) -> dict[str, Exchange]:
        """What a new link says of vectors and rows. The processes of one directory share all namespaces."""
        return {name: self._exchange(event, number, name) for number, name in enumerate(self.sources)}

    def _exchange(self, event: LinkUp, number: int, name: str) -> Exchange:
        is_beside, source = is_local(event.peer), self.sources[name]
        kind = ExchangeBeside if is_beside else ExchangePatient if name in self._patient else Exchange
        exchange = kind(
            name,
            number,
            source,
            Turn(self.turns, event.link),
            quota=self._quotas.of(event.peer, name, source),
            course=Course(Direction.MESH if is_beside else self._directions.get(name, Direction.MESH)),
            held=self.held.take(name, event.peer),
        )
        return exchange.be_patient(self._patience_s) if isinstance(exchange, ExchangeBeside) else exchange

    def comparisons(self, interval_s: float, jitter: random.Random, now: float) -> dict[str, Comparison]:
        """What a new link compares: the namespaces whose rows prove themselves."""
        return {
            name: Comparison(name, number, source, rows, interval_s=interval_s, jitter=jitter, now=now)
            for number, (name, source) in enumerate(self.sources.items())
            if (rows := source.provable) is not None
        }

    def abandon(self, node: NodeId, exchanges: Mapping[str, Exchange], now: float, *, is_sound: bool) -> None:
        """A link is gone. What came of a stream over a sound one is kept for a while."""
        for exchange in exchanges.values():
            held = exchange.abandon()
            if held is not None and is_sound:
                self.held.keep(exchange.space, node, held, now)
            elif held is not None:
                held.incoming.abandon()
