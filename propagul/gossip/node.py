"""A gossip node without I/O: events in, effects out, frames on request.

Theory of operation. A node has one `Exchange` a namespace a link. Five things make it speak:

- a new link, who dialled first: HELLO, then one DIGEST a namespace (the whole vector, or "same as your hello");
- a local write: a PUSH of this origin's own rows at once on every link that has nothing unacknowledged; the
  acknowledgement (a DIGEST) brings the next one, with everything written meanwhile in its newest form;
- news from one link, in the lane in which each other peer wants it: the rows themselves, or a DIGEST after
  `announce_delay_s`, on which whoever lacks something asks one neighbour after the other with its own DIGEST. In a full
  mesh everybody hears the author, and all lanes are for telling; in a sparse overlay each node chooses its lanes;
  between the processes of one directory there are fewer words (`propagul.gossip.beside`);
- an interval: where rows prove themselves, a COMPARE (`propagul.gossip.compare`);
- idleness: a PULSE now and then, which proves that the link lives and says again which lane is wanted. Links deliver
  in order or break, so nothing needs to be asked for that nobody told of.

There are no queues: what is owed is a flag, and `outgoing` computes the frames when the link can take them. The rules
of this file: no socket, no clock (`now` is a monotonic reading in seconds), no randomness but the one passed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from propagul.errors import PeerProtocolError, StoreError
from propagul.gossip.callers import Callers
from propagul.gossip.decoding import decode
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
from propagul.gossip.exchange import NEVER, Exchange
from propagul.gossip.messages import Compare, Delta, Digest, Hello, Mend, Pulse, Push
from propagul.gossip.overlay import Overlay
from propagul.gossip.peer import Peer
from propagul.gossip.relay import Relay
from propagul.gossip.spaces import Spaces

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator, Mapping

    from propagul.crdt import Dot
    from propagul.gossip.config import GossipConfig
    from propagul.gossip.directions import Direction
    from propagul.gossip.events import Source
    from propagul.link.base import NodeId

LATE_S: Final = 1.0
"""A timer later than this means that this process was stopped, or the machine asleep."""


class GossipNode:
    """Who is linked, and what they miss.

    Args:
        me: This node's identity.
        label: What people call it.
        spaces: The namespaces by name.
        config: Timing.
        patient: Namespaces whose news may wait: it is told of, and asked for of one neighbour after the other.
        jitter: Spreads timers so that nodes do not act in step.
        rules: By what rows are admitted here; members with other rules are told apart at their hello.
        directions: What this node wants of those namespaces that it does not just share, towards other members; the
            processes of one directory share all.

    Attributes:
        recovering: We have not yet caught up with anybody since we opened.
        overlay: Decides how many links are enough then.
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
        rules: str = "",
        directions: Mapping[str, Direction] | None = None,
    ) -> None:
        self._me = me
        self._label = label
        self._spaces = Spaces(spaces, directions or {}, patient, config.process_patience_s)
        self._config = config
        self._rules = rules
        self._jitter = jitter
        self._peers: dict[LinkKey, Peer] = {}
        self._callers = Callers()
        self.overlay = Overlay(config.active_max, jitter)
        self._relay = Relay(config, jitter, patient)
        self.recovering = True

    @property
    def sparse(self) -> bool:
        """Whether there are more members than links, so that news must be relayed."""
        return self._relay.sparse

    def be_sparse(self, sparse: bool, now: float) -> None:  # noqa: FBT001 - a switch
        """There are more members than links, or not. `next_tick` may be earlier now."""
        if sparse != self._relay.sparse:
            self._relay.sparse = sparse
            self._relay.choose_lanes_at(now)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event; return what to do about it. A peer's error drops its link and nothing else."""
        self._spaces.turns.now = now
        effects = self._handle(event, now)
        return [*effects, *map(Ready, self._spaces.turns.called())]

    def _handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case LinkUp():
                self._callers.add(event, now)
                return self._admit(event.link, now) if event.dialed else []
            case LinkDown():
                self._callers.pop(event.link)
                self._forget(event.link, now)
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

    def learned(self, space: str, now: float) -> list[Effect]:
        """Rows came by another way than a link: they are passed on by all of them."""
        return self._pass_on(space, now, heard_on=None)

    def busy(self) -> list[str]:
        """Namespaces in which rows wait to be joined: `settle` them, then `handle` a `Settled`."""
        return [name for name, source in self._spaces.sources.items() if source.is_busy]

    def settle(self, space: str) -> bool:
        """Join some of those rows; return whether more are left."""
        return self._spaces.sources[space].settle()

    def outgoing(self, link: LinkKey) -> Iterator[bytes | InThread]:
        """The frames due on a link. Take them all before asking again; nothing is encoded before it is taken.

        An `InThread` among them must be run before the next one is taken.

        Raises:
            PeerProtocolError: There will be no more, and why.
        """
        peer = self._peers.get(link)
        if peer is not None:
            yield from peer.outgoing(self._label, self._rules, recovering=self.recovering)

    def next_tick(self) -> float | None:
        """When `Tick` is due, by the clock of `now`; None while there is no link."""
        due = [self._spaces.held.next_expiry(), self._callers.next_lapse(self._config.silence_s_max)]
        due += [self._relay.next_due(), self._spaces.turns.next_lapse()] if self._peers else []
        due += [peer.next_due(self._config.silence_s_max) for peer in self._peers.values()]
        return at if (at := min(due)) < NEVER else None

    def linked(self) -> dict[NodeId, LinkKey]:
        """Peers with an open link. Any thread."""
        return {peer.node: link for link, peer in list(self._peers.items())}

    def passing_on(self) -> set[NodeId]:
        """Those of them that the overlay is made of; see `Peer.passes_on`."""
        return {peer.node for peer in self._peers.values() if peer.passes_on}

    def given(self, space: str) -> set[NodeId]:
        """Those of them that are sent the rows of a namespace."""
        return {peer.node for peer in self._peers.values() if peer.exchanges[space].course.gives}

    def hello_of(self, node: NodeId) -> Hello | None:
        """What a linked peer said first; None before it spoke."""
        return next((peer.hello for peer in self._peers.values() if peer.node == node), None)

    def caught_up_with(self, node: NodeId) -> bool:
        """Whether everything that linked peer said it has is applied here."""
        return any(peer.node == node and peer.caught_up for peer in self._peers.values())

    def served(self) -> dict[str, int]:
        """For each namespace, up to which place of ours every linked peer has everything; -1 if nobody is linked."""
        return {
            space: min((peer.exchanges[space].served() for peer in self._peers.values()), default=-1)
            for space in self._spaces.sources
        }

    def logged_by(self, space: str, dots: Collection[Dot]) -> set[NodeId]:
        """Linked peers that said they have applied and logged these writes."""
        return {peer.node for peer in self._peers.values() if all(map(peer.exchanges[space].theirs.covers, dots))}

    def _admit(self, link: LinkKey, now: float) -> list[Effect]:
        """A link is to be used: we have dialled it, or the peer has spoken on it."""
        event = self._callers.pop(link)
        if event is None:
            return []
        if event.peer == self._me:
            return [Drop(event.link, "linked to itself")]
        twin = self.linked().get(event.peer)
        if twin is not None and not self._peers[twin].gives_way(event, self._me, now):
            return [Drop(event.link, "already linked")]
        if twin is not None:
            self._forget(twin, now)
        exchanges = self._spaces.exchanges(event)
        comparisons = self._spaces.comparisons(self._config.compare_interval_s, self._jitter, now)
        who = event.peer, event.dialed, event.urgent, event.instance
        pulse_at = now + self._spread(self._config.pulse_interval_s)
        self._peers[event.link] = Peer(*who, exchanges, now, now, pulse_at, comparisons)
        self._relay.choose_lanes_at(now)
        effects: list[Effect] = [Ready(event.link)]
        if twin is not None:
            effects.append(Drop(twin, "replaced by another link to the same node"))
        return effects

    def _forget(self, link: LinkKey, now: float, *, is_sound: bool = True) -> None:
        peer = self._peers.pop(link, None)
        if peer is not None:
            self._relay.forget(link, now)
            self._spaces.abandon(peer.node, peer.exchanges, now, is_sound=is_sound)

    def _received(self, event: Received, now: float) -> list[Effect]:
        effects = self._admit(event.link, now)
        peer = self._peers.get(event.link)
        if peer is not None and not peer.refusal:
            peer.heard_at = now
            try:
                effects += self._take(event.link, peer, event.frame, now)
            except (PeerProtocolError, StoreError) as error:
                effects.append(self._dropped(event.link, error, now))
        return effects

    def _take(self, link: LinkKey, peer: Peer, frame: bytes, now: float) -> list[Effect]:
        message = decode(frame)
        match message:
            case None:
                return []
            case Hello():
                return self._greeted(link, peer, message, now)
            case Pulse():
                peer.wanted = message.lane
                return []
            case Digest() | Delta() | Push():
                exchange = peer.addressed(message.space)
                return [] if exchange is None else self._exchanged(link, exchange, message, now)
            case Compare() | Mend():
                return self._compared(link, peer, message, now)
            case _:
                assert_never(message)

    def _exchanged(self, link: LinkKey, exchange: Exchange, message: Digest | Delta | Push, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if isinstance(message, Digest):
            self._relay.heard(exchange.space, link, message.entries, now)
            if exchange.peer_told(message):
                self._relay.ask(link, exchange, now)
        else:
            if isinstance(message, Push) or message.last:
                self._relay.answered(exchange.space, link, now)
            if exchange.peer_sent(message):
                effects = self._pass_on(exchange.space, now, heard_on=link)
            if isinstance(message, Push) and exchange.taken is not None:
                self._relay.heard(exchange.space, link, [(exchange.taken.origin, exchange.taken.stamp)], now)
        return [*effects, Ready(link)] if exchange.owes_anything else effects

    def _compared(self, link: LinkKey, peer: Peer, message: Compare | Mend, now: float) -> list[Effect]:
        comparison = peer.compared(message.space)
        if comparison is None:
            return []
        if isinstance(message, Compare):
            comparison.peer_counted(message, now)
        elif comparison.peer_mended(message):
            for other in self._peers.values():
                if other is not peer:
                    other.comparisons[comparison.space].soon(now)
        return [Ready(link)] if comparison.owes_anything else []

    def _greeted(self, link: LinkKey, peer: Peer, hello: Hello, now: float) -> list[Effect]:
        peer.said_hello(hello, self._rules)
        return [Ready(link), *self._room_for(link, peer, hello, now)]

    def _room_for(self, link: LinkKey, peer: Peer, hello: Hello, now: float) -> list[Effect]:
        """Where links are few: turn a newcomer away if we have enough, or give up another for one who has none."""
        if not self.sparse or peer.dialed or not peer.passes_on:
            return []
        links = {key: held.up_at for key, held in self._peers.items() if held.passes_on}
        given_up = self.overlay.give_up(links, link, now, urgent=hello.urgent)
        if given_up is not None:
            self._forget(given_up, now)
        return [] if given_up is None else [Drop(given_up, "enough links to others")]

    def _wrote(self, space: str) -> list[Effect]:
        for peer in self._peers.values():
            peer.exchanges[space].owes_push = True
        return [Ready(link) for link in self._peers]

    def _settled(self, space: str, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for link, peer in list(self._peers.items()):
            try:
                if peer.exchanges[space].resume():
                    effects += self._pass_on(space, now, heard_on=link)
            except (PeerProtocolError, StoreError) as error:
                effects.append(self._dropped(link, error, now))
            else:
                effects.append(Ready(link))
        return effects

    def _dropped(self, link: LinkKey, error: Exception, now: float) -> Effect:
        """A peer's error, or a full disk, pauses the link: nothing of the stream was applied."""
        self._forget(link, now, is_sound=False)
        return Drop(link, str(error))

    def _pass_on(self, space: str, now: float, heard_on: LinkKey | None) -> list[Effect]:
        """There is news: return which links have frames at once."""
        return [Ready(link) for link in self._relay.pass_on(space, self._peers, now, heard_on)]

    def _spread(self, interval_s: float) -> float:
        return interval_s * self._jitter.uniform(0.8, 1.2)

    def _tick(self, now: float) -> list[Effect]:
        self._spaces.turns.lapse()
        self._spaces.held.expire(now)
        self._excuse(now - (self.next_tick() or now))
        effects: list[Effect] = [Ready(link) for link in self._relay.due(self._peers, now)]
        silent = self._callers.lapse(now, self._config.silence_s_max)
        pulse_at = now + self._spread(self._config.pulse_interval_s)
        for link, peer in list(self._peers.items()):
            if now - peer.heard_at >= self._config.silence_s_max:
                self._forget(link, now)
                silent.append(link)
            elif peer.due(now, pulse_at):
                effects.append(Ready(link))
        return [*effects, *(Drop(link, "silent for too long") for link in silent)]

    def _excuse(self, late_s: float) -> None:
        """We were not running, so it is not the others who were silent (Lifeguard: Dadgar, Phillips, Currey 2018)."""
        if late_s > LATE_S:
            for peer in self._peers.values():
                peer.heard_at += late_s
