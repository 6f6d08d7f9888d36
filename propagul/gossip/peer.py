"""One open link as a gossip node sees it: who is at its end, and what each wants of the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from propagul.errors import PeerProtocolError
from propagul.gossip.directions import Direction
from propagul.gossip.lanes import Lane
from propagul.gossip.messages import VERSION, Hello, Pulse, encode
from propagul.link.local import is_local
from propagul.link.twins import are_two_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from propagul.gossip.compare import Comparison
    from propagul.gossip.events import InThread, LinkUp
    from propagul.gossip.exchange import Exchange
    from propagul.link.base import NodeId


_EARLY: Final = 0.2
"""By this much of its interval a pulse may be early."""

CROSSING_S: Final = 5.0
"""Of two links that come up within so much time each may have been dialled without knowing of the other."""


@dataclass(slots=True)
class Peer:
    """One open link and who is at its end.

    Attributes:
        instance: Which run of the node it is; empty where that is not known.
        comparisons: Of the namespaces whose rows prove themselves.
        numbered: The exchanges by the peer's numbers; None where it has a namespace that we have not.
        lane: How we want to hear of news from it.
        wanted: How it wants to hear of news from us.
        spoke: Whether anything was sent since the last pulse was due.
        refusal: Why nothing but our hello is said on this link; the peer learns the same from it. Else empty.
    """

    node: NodeId
    dialed: bool
    urgent: bool
    instance: bytes
    exchanges: dict[str, Exchange]
    up_at: float
    heard_at: float
    pulse_at: float
    comparisons: dict[str, Comparison]
    hello_sent: bool = False
    hello: Hello | None = None
    numbered: list[Exchange | None] = field(default_factory=list)
    lane: Lane = Lane.TELL
    wanted: Lane = Lane.TELL
    spoke: bool = False
    refusal: str = ""
    owes_pulse: bool = False

    @property
    def is_beside(self) -> bool:
        """Whether it is another process of our directory."""
        return is_local(self.node)

    def gives_way(self, newcomer: LinkUp, me: NodeId, now: float) -> bool:
        """Whether this link ends for another one between the same pair, that we dialled or the peer has spoken on.

        For another run of the peer, always: the run before may be dead without our having noticed, and of twins, if the
        one that came first kept the other out, neither would learn of the other. With one run, who dialled decides: we
        keep what we hold, and the peer speaks on another link only if it holds none. If we then hold one that we have
        dialled ourselves, the two crossed, and the one that the smaller identity dialled stays; or the peer has lost
        what we still hold.
        """
        if are_two_runs(newcomer.instance, self.instance):
            return True
        if newcomer.dialed:
            return False
        have_crossed = self.dialed and now - self.up_at < CROSSING_S
        return not have_crossed or newcomer.peer < me

    @property
    def passes_on(self) -> bool:
        """Whether this link is part of the overlay: other processes of our directory and leaves are beside it."""
        return not is_local(self.node) and (self.hello is None or not self.hello.directions)

    def _our_hello(self, label: str, rules: str, *, recovering: bool) -> Hello:
        """What we say first. The vectors of this instant are kept until the peer's first telling."""
        ours = {space: exchange.course.ours for space, exchange in self.exchanges.items()}
        return Hello(
            version=VERSION,
            label=label,
            recovering=recovering,
            digests={space: exchange.hello() for space, exchange in self.exchanges.items()},
            urgent=self.urgent,
            rules=rules,
            directions={space: way for space, way in ours.items() if way is not Direction.MESH},
        )

    def said_hello(self, hello: Hello, rules: str) -> None:
        """The peer has spoken first; here, rows are admitted by `rules`.

        Raises:
            PeerProtocolError: It has said that before.
        """
        if self.hello is not None:
            raise PeerProtocolError("a second hello")
        self.hello = hello
        if hello.rules != rules:
            self.refusal = f"it admits rows by other rules than this store, which has: {rules or 'none'}"
            return
        self.numbered = [self.exchanges.get(space) for space in hello.digests]
        for space, exchange in self.exchanges.items():
            if space in hello.digests:
                exchange.peer_said_hello(hello.digests[space], hello.directions.get(space, Direction.MESH))

    @property
    def caught_up(self) -> bool:
        """Whether everything that it said it has is applied here."""
        return self.hello is not None and all(exchange.caught_up for exchange in self.exchanges.values())

    def addressed(self, space: int) -> Exchange | None:
        """The exchange of a number of the peer's; None if that namespace is none of ours.

        Raises:
            PeerProtocolError: It said no hello, or did not name such a namespace in it.
        """
        if self.hello is None:
            raise PeerProtocolError("the first message was no hello")
        if space >= len(self.numbered):
            raise PeerProtocolError("a namespace that its sender's hello did not name")
        return self.numbered[space]

    def compared(self, space: int) -> Comparison | None:
        """The comparison of a number of the peer's; None if its rows prove nothing here, or it is none of ours.

        Raises:
            PeerProtocolError: As `addressed`.
        """
        exchange = self.addressed(space)
        return None if exchange is None else self.comparisons.get(exchange.space)

    def outgoing(self, label: str, rules: str, *, recovering: bool) -> Iterator[bytes | InThread]:
        """The frames that are due.

        Raises:
            PeerProtocolError: There will be no more, and why.
        """
        if not self.hello_sent:
            self.hello_sent = True
            yield from self._spoken([encode(self._our_hello(label, rules, recovering=recovering))])
        if self.refusal:
            raise PeerProtocolError(self.refusal)
        if self.owes_pulse:
            self.owes_pulse = False
            yield encode(Pulse(lane=self.lane))  # which is not counted, or every other one would be saved
        yield from self._spoken(self._frames())

    def _spoken(self, frames: Iterable[bytes | InThread]) -> Iterator[bytes | InThread]:
        for frame in frames:
            self.spoke = True
            yield frame

    def _frames(self) -> Iterator[bytes | InThread]:
        """The frames of all namespaces. What vectors tell of waits for no comparison."""
        yield from self._exchanged()
        for comparison in self.comparisons.values():
            for frame in comparison.outgoing():
                yield frame
                yield from self._exchanged()

    def _exchanged(self) -> Iterator[bytes | InThread]:
        for exchange in self.exchanges.values():
            if exchange.may_send:
                yield from exchange.outgoing()

    def next_due(self, silence_s_max: float) -> float:
        """When something is due, or the peer has been silent for too long."""
        due = min(self.pulse_at, self.heard_at + silence_s_max)
        for exchange in self.exchanges.values():
            if exchange.tell_at < due:  # noqa: PLR1730 - asked after every event of every link; `min` takes thrice as long
                due = exchange.tell_at
            if exchange.relay_at < due:  # noqa: PLR1730 - as above
                due = exchange.relay_at
        for comparison in self.comparisons.values():
            due = min(due, comparison.at)
        return due

    def due(self, now: float, next_pulse_at: float) -> bool:
        """Let what is due by now be owed; return whether that is anything.

        A pulse may be a little early, so that all links of a node have theirs together.
        """
        if self.pulse_at <= now + _EARLY * (next_pulse_at - now):
            self.owes_pulse, self.spoke = self.owes_pulse or not self.spoke, False
            self.pulse_at = next_pulse_at
        for space, comparison in self.comparisons.items():
            comparison.due(now, is_quiet=self.exchanges[space].is_quiet)
        if self.hello is None:
            return self.owes_pulse
        owing = [exchange.due(now) for exchange in self.exchanges.values()]
        owing += [comparison.owes_anything for comparison in self.comparisons.values()]
        return self.owes_pulse or any(owing)
