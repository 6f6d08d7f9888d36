"""A gossip node without I/O: events in, effects out, frames on request.

Theory of operation. A node has one `Exchange` a namespace a link. Four things make it speak:

- a new link: HELLO, then one DIGEST a namespace (the whole vector, or "same as your hello");
- a local write: a PUSH of this origin's own rows at once on every link that has nothing unacknowledged; the
  acknowledgement (a DIGEST) brings the next one, with everything written meanwhile in its newest form;
- news from one link: a DIGEST to the others after `announce_delay_s`; whoever lacks something answers with its own
  DIGEST, which asks for it; so a mesh carries small announcements and a chain relays rows;
- idleness: a DIGEST now and then, less and less often, which also proves that the link lives.

There are no queues: what is owed is a flag, and `outgoing` computes the frames when the link can take them. The rules
of this file: no socket, no clock (`now` is a monotonic reading in seconds), no randomness but the one passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from propagul.errors import PeerProtocolError, StoreError
from propagul.gossip.events import (
    Drop,
    Effect,
    Event,
    InThread,
    LinkDown,
    LinkKey,
    LinkUp,
    Ready,
    Received,
    Settled,
    Tick,
    Wrote,
)
from propagul.gossip.exchange import Exchange
from propagul.gossip.messages import VERSION, Delta, Digest, Hello, Push, decode, encode

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator, Mapping

    from propagul.crdt import Dot
    from propagul.gossip.config import GossipConfig
    from propagul.gossip.events import Source
    from propagul.link.base import NodeId


@dataclass(slots=True)
class _Peer:
    """One open link and who is at its end.

    `numbered` are the exchanges by the peer's numbers; None where it has a namespace that we have not.
    """

    node: NodeId
    dialed: bool
    exchanges: dict[str, Exchange]
    heard_at: float
    hello_sent: bool = False
    hello: Hello | None = None
    numbered: list[Exchange | None] = field(default_factory=list)


class GossipNode:
    """Who is linked, and what they miss.

    Args:
        me: This node's identity.
        label: What people call it.
        spaces: The namespaces by name.
        config: Timing.
        patient: Namespaces whose news may wait for `presence_announce_delay_s` before it is announced onward.
        jitter: Spreads timers so that nodes do not act in step.
    """

    def __init__(
        self,
        me: NodeId,
        label: str,
        spaces: Mapping[str, Source],
        config: GossipConfig,
        jitter: random.Random,
        *,
        patient: Collection[str] = (),
    ) -> None:
        self._me = me
        self._label = label
        self._spaces = spaces
        self._config = config
        self._patient = patient
        self._jitter = jitter
        self._peers: dict[LinkKey, _Peer] = {}
        self.recovering = True

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event; return what to do about it. A peer's error drops its link and nothing else."""
        match event:
            case LinkUp():
                return self._link_up(event, now)
            case LinkDown():
                self._forget(event.link)
                return []
            case Received():
                return self._received(event, now)
            case Wrote():
                return self._wrote(event.space)
            case Settled():
                return self._settled(event.space, now)
            case Tick():
                return self._tick(now)
            case _:
                assert_never(event)

    def learned(self, space: str, now: float) -> None:
        """Rows came by another way than a link: they are announced on all links. `next_tick` may be earlier now."""
        self._announce(space, now, heard_on=None)

    def busy(self) -> list[str]:
        """Namespaces in which rows wait to be joined: `settle` them, then `handle` a `Settled`."""
        return [name for name, source in self._spaces.items() if source.is_busy]

    def settle(self, space: str) -> bool:
        """Join some of those rows; return whether more are left."""
        return self._spaces[space].settle()

    def outgoing(self, link: LinkKey) -> Iterator[bytes | InThread]:
        """The frames due on a link. Take them all before asking again; nothing is encoded before it is taken.

        An `InThread` among them must be run before the next one is taken.
        """
        peer = self._peers.get(link)
        if peer is None:
            return
        if not peer.hello_sent:
            peer.hello_sent = True
            digests = {space: exchange.hello() for space, exchange in peer.exchanges.items()}
            yield encode(Hello(version=VERSION, label=self._label, recovering=self.recovering, digests=digests))
        for exchange in peer.exchanges.values():
            yield from exchange.outgoing()

    def next_tick(self) -> float | None:
        """When `Tick` is due, by the clock of `now`; None while there is no link."""
        due = [exchange.digest_at for peer in self._peers.values() for exchange in peer.exchanges.values()]
        due += [peer.heard_at + self._config.silence_s_max for peer in self._peers.values()]
        return min(due, default=None)

    def linked(self) -> dict[NodeId, LinkKey]:
        """Peers with an open link."""
        return {peer.node: link for link, peer in self._peers.items()}

    def hello_of(self, node: NodeId) -> Hello | None:
        """What a linked peer said first; None before it spoke."""
        return next((peer.hello for peer in self._peers.values() if peer.node == node), None)

    def caught_up_with(self, node: NodeId) -> bool:
        """Whether everything that linked peer said it has is applied here."""
        return any(
            peer.node == node and peer.hello is not None and all(e.caught_up for e in peer.exchanges.values())
            for peer in self._peers.values()
        )

    def all_past(self, space: str, place: int) -> bool:
        """Whether somebody is linked, and everybody who is has been served up to this place of ours."""
        places = [peer.exchanges[space].place for peer in self._peers.values()]
        return bool(places) and min(places) >= place

    def logged_by(self, space: str, dots: Collection[Dot]) -> set[NodeId]:
        """Linked peers that said they have applied and logged these writes."""
        return {peer.node for peer in self._peers.values() if all(map(peer.exchanges[space].theirs.covers, dots))}

    def _link_up(self, event: LinkUp, now: float) -> list[Effect]:
        if event.peer == self._me:
            return [Drop(event.link, "linked to itself")]
        twin = self.linked().get(event.peer)
        if twin is not None and not self._replaces(event, self._peers[twin]):
            return [Drop(event.link, "already linked")]
        spaces = enumerate(self._spaces.items())
        exchanges = {name: Exchange(name, number, source) for number, (name, source) in spaces}
        for exchange in exchanges.values():
            self._schedule(exchange, now, self._config.digest_interval_s_max)
        self._peers[event.link] = _Peer(event.peer, event.dialed, exchanges, now)
        effects: list[Effect] = [Ready(event.link)]
        if twin is not None:
            self._forget(twin)
            effects.append(Drop(twin, "replaced by another link to the same node"))
        return effects

    def _replaces(self, newcomer: LinkUp, held: _Peer) -> bool:
        """Of two links between one pair keep the one that the smaller identity dialled; of two such, the newer."""
        if newcomer.dialed == held.dialed:
            return True
        return newcomer.dialed == (self._me < newcomer.peer)

    def _forget(self, link: LinkKey) -> None:
        peer = self._peers.pop(link, None)
        for exchange in () if peer is None else peer.exchanges.values():
            exchange.abandon()

    def _received(self, event: Received, now: float) -> list[Effect]:
        peer = self._peers.get(event.link)
        if peer is None:
            return []
        peer.heard_at = now
        try:
            return self._take(event.link, peer, event.frame, now)
        except (PeerProtocolError, StoreError) as error:
            return [self._dropped(event.link, error)]

    def _take(self, link: LinkKey, peer: _Peer, frame: bytes, now: float) -> list[Effect]:
        message = decode(frame)
        if message is None:
            return []
        if isinstance(message, Hello):
            return self._greeted(link, peer, message)
        if peer.hello is None:
            raise PeerProtocolError("the first message was no hello")
        if message.space >= len(peer.numbered):
            raise PeerProtocolError("a namespace that its sender's hello did not name")
        exchange = peer.numbered[message.space]
        if exchange is None:
            return []
        match message:
            case Digest():
                exchange.peer_told(message)
            case Delta() | Push():
                if exchange.peer_sent(message):
                    self._announce(exchange.space, now, heard_on=link)
            case _:
                assert_never(message)
        return [Ready(link)] if exchange.owes_anything else []

    def _greeted(self, link: LinkKey, peer: _Peer, hello: Hello) -> list[Effect]:
        if peer.hello is not None:
            raise PeerProtocolError("a second hello")
        peer.hello = hello
        peer.numbered = [peer.exchanges.get(space) for space in hello.digests]
        for space in list(peer.exchanges):
            if space in hello.digests:
                peer.exchanges[space].peer_said_hello(hello.digests[space])
        return [Ready(link)]

    def _wrote(self, space: str) -> list[Effect]:
        for peer in self._peers.values():
            peer.exchanges[space].owes_push = True
        return [Ready(link) for link in self._peers]

    def _settled(self, space: str, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for link, peer in list(self._peers.items()):
            try:
                if peer.exchanges[space].resume():
                    self._announce(space, now, heard_on=link)
            except (PeerProtocolError, StoreError) as error:
                effects.append(self._dropped(link, error))
            else:
                effects.append(Ready(link))
        return effects

    def _dropped(self, link: LinkKey, error: Exception) -> Effect:
        """A peer's error, or a full disk, pauses the link: nothing of the stream was applied."""
        self._forget(link)
        return Drop(link, str(error))

    def _announce(self, space: str, now: float, heard_on: LinkKey | None) -> None:
        for link, peer in self._peers.items():
            if link != heard_on:
                self._schedule(peer.exchanges[space], now, self._announce_delay_s(space))

    def _announce_delay_s(self, space: str) -> float:
        patient = space in self._patient
        return self._config.presence_announce_delay_s if patient else self._config.announce_delay_s

    def _schedule(self, exchange: Exchange, now: float, interval_s: float) -> None:
        due = now + interval_s * self._jitter.uniform(0.8, 1.2)
        exchange.digest_at = due if exchange.digest_at <= now else min(exchange.digest_at, due)
        exchange.interval_s = interval_s

    def _tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for link, peer in list(self._peers.items()):
            if now - peer.heard_at >= self._config.silence_s_max:
                self._forget(link)
                effects.append(Drop(link, "silent for too long"))
            elif self._due(peer, now):
                effects.append(Ready(link))
        return effects

    def _due(self, peer: _Peer, now: float) -> bool:
        """Mark the digests that are due on this link and set their next time; return whether there are any."""
        due = [exchange for exchange in peer.exchanges.values() if exchange.digest_at <= now]
        for exchange in due:
            exchange.owes_digest = exchange.owes_digest or peer.hello is not None
            slower = min(exchange.interval_s * 1.5, self._config.digest_interval_s_max)
            self._schedule(exchange, now, max(slower, self._announce_delay_s(exchange.space)))
        return bool(due)
