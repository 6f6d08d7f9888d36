"""How news goes on from the link on which it came to the others, and how what others tell of is asked for.

In a full mesh everybody hears the author, so news is told of after a while, and asked for at once. In a sparse room
each other peer hears of it in the lane that it wants (`propagul.gossip.lanes`), and what was told of and did not come
is asked for. News that may wait, in the namespaces that are *patient*, is pushed in no lane: it is told of to all
together, with what comes until then, and asked for of one neighbour at a time (`propagul.gossip.asking`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.gossip.asking import Asking
from propagul.gossip.beside import ExchangeBeside
from propagul.gossip.exchange import NEVER
from propagul.gossip.lanes import Lane, Lanes

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator, Mapping

    from propagul.crdt import Entry
    from propagul.gossip.config import GossipConfig
    from propagul.gossip.events import LinkKey
    from propagul.gossip.exchange import Exchange
    from propagul.gossip.peer import Peer

LANES_S: Final = 1.0
"""How long after news lanes are chosen anew."""


class Relay:
    """Decides who hears of news when, and who is asked. Pure: time comes in.

    Args:
        config: Timing.
        jitter: Spreads timers.
        patient: Namespaces whose news may wait.

    Attributes:
        sparse: Whether there are more members than links.
    """

    def __init__(self, config: GossipConfig, jitter: random.Random, patient: Collection[str]) -> None:
        self._config, self._jitter = config, jitter
        self._lanes, self._lanes_at = Lanes(jitter), NEVER
        self._asking = {space: Asking(config.ask_delay_s, config.answer_s_max) for space in patient}
        self._asked_at: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        self.sparse = False

    def choose_lanes_at(self, at: float) -> None:
        """Choose them anew then, or earlier."""
        self._lanes_at = min(self._lanes_at, at)

    def forget(self, link: LinkKey, now: float) -> None:
        """That link is gone."""
        self._lanes.forget(link)
        self.choose_lanes_at(now)
        for asking in self._asking.values():
            asking.forget(link, now)

    def heard(self, space: str, link: LinkKey, entries: Collection[Entry], now: float) -> None:
        """Such news came on a link; where it may wait, who brings it first is chance."""
        if self.sparse and entries and space not in self._asking:
            self._lanes.heard(link, entries, now)
            if self._lanes_at == NEVER:
                self._lanes_at = now + self._spread(LANES_S)

    def answered(self, space: str, link: LinkKey, now: float) -> None:
        """Rows came: where one neighbour at a time is asked for them, it may be the next one's turn."""
        if space in self._asking:
            self._asking[space].answered(link, now)

    def ask(self, link: LinkKey, exchange: Exchange, now: float) -> None:
        """Ask for what a peer told of, unless it comes by itself; one neighbour after the other, not all at once."""
        if not self.sparse:
            exchange.ask()
        elif exchange.space in self._asking:
            self._asking[exchange.space].told(link, exchange, now)
        else:
            wait_s = self._config.ask_delay_s
            ask_at = max(now + wait_s, self._asked_at.get(exchange.space, 0.0) + 2 * wait_s)
            self._asked_at[exchange.space] = ask_at
            exchange.tell_at = min(exchange.tell_at, ask_at)

    def pass_on(self, space: str, peers: Mapping[LinkKey, Peer], now: float, heard_on: LinkKey | None) -> list[LinkKey]:
        """There is news: each other peer hears of it in the lane it wants. Return which links have frames at once."""
        at_once: list[LinkKey] = []
        together_at = self._together_at(space, now)
        came_beside = heard_on is not None and peers[heard_on].is_beside
        for link, peer in peers.items():
            if link == heard_on or peer.hello is None:  # our first telling, which is yet to come, tells all
                continue
            exchange = peer.exchanges[space]
            if isinstance(exchange, ExchangeBeside) and not came_beside:
                exchange.relay(now + self._spread(self._delay_s(space)))
            elif isinstance(exchange, ExchangeBeside):
                exchange.tell_at = min(exchange.tell_at, now + self._spread(exchange.patience_s))
            elif together_at:
                exchange.tell_at = min(exchange.tell_at, together_at)
            elif peer.wanted is Lane.PUSH:
                exchange.owes_delta = True
                at_once.append(link)
            elif peer.wanted is Lane.SPARE:
                exchange.relay_at = min(exchange.relay_at, now + self._spread(self._config.spare_delay_s))
            else:
                exchange.tell_at = min(exchange.tell_at, now + self._spread(self._delay_s(space)))
        return at_once

    def next_due(self) -> float:
        """When to call `due`; infinity if nothing waits."""
        return min((self._lanes_at, *(asking.at for asking in self._asking.values())))

    def due(self, peers: Mapping[LinkKey, Peer], now: float) -> Iterator[LinkKey]:
        """Choose lanes, and ask, if it is time; yield the links on which something is owed for that."""
        if self._lanes_at <= now:
            self._choose_lanes(peers)
        for asking in self._asking.values():
            if (link := asking.due(now)) is not None:
                yield link

    def _choose_lanes(self, peers: Mapping[LinkKey, Peer]) -> None:
        """Say on which links we want to hear of news at once, from now on."""
        self._lanes_at = NEVER
        held = {link: peer.lane for link, peer in peers.items()}
        chosen = self._lanes.choose(held) if self.sparse else dict.fromkeys(held, Lane.TELL)
        for link, lane in chosen.items():
            peer = peers[link]
            peer.lane, peer.owes_pulse = lane, peer.owes_pulse or lane is not peer.lane

    def _together_at(self, space: str, now: float) -> float:
        """When all are told of news that may wait: together, with what comes until then; 0 for other news."""
        if space not in self._asking:
            return 0.0
        if self._told_at.get(space, 0.0) <= now:
            self._told_at[space] = now + self._spread(self._delay_s(space))
        return self._told_at[space]

    def _delay_s(self, space: str) -> float:
        return self._config.telling_delay_s(sparse=self.sparse, patient=space in self._asking)

    def _spread(self, interval_s: float) -> float:
        return interval_s * self._jitter.uniform(0.8, 1.2)
