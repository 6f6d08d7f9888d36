"""One open link as a gossip node sees it: who is at its end, and what each wants of the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from propagul.errors import PeerProtocolError
from propagul.gossip.lanes import Lane

if TYPE_CHECKING:
    from propagul.gossip.events import LinkUp
    from propagul.gossip.exchange import Exchange
    from propagul.gossip.messages import Hello
    from propagul.link.base import NodeId


@dataclass(slots=True)
class Peer:
    """One open link and who is at its end.

    Attributes:
        numbered: The exchanges by the peer's numbers; None where it has a namespace that we have not.
        lane: How we want to hear of news from it.
        wanted: How it wants to hear of news from us.
        spoke: Whether anything was sent since the last pulse was due.
    """

    node: NodeId
    dialed: bool
    urgent: bool
    exchanges: dict[str, Exchange]
    up_at: float
    heard_at: float
    pulse_at: float
    hello_sent: bool = False
    hello: Hello | None = None
    numbered: list[Exchange | None] = field(default_factory=list)
    lane: Lane = Lane.TELL
    wanted: Lane = Lane.TELL
    spoke: bool = False
    owes_pulse: bool = False

    def gives_way(self, newcomer: LinkUp, me: NodeId) -> bool:
        """Of two links between one pair keep the one that the smaller identity dialled; of two such, the newer."""
        if newcomer.dialed == self.dialed:
            return True
        return newcomer.dialed == (me < newcomer.peer)

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

    def due(self, now: float, next_pulse_at: float) -> bool:
        """Let what is due by now be owed; return whether that is anything."""
        if self.pulse_at <= now:
            self.owes_pulse, self.spoke = self.owes_pulse or not self.spoke, False
            self.pulse_at = next_pulse_at
        if self.hello is None:
            return self.owes_pulse
        owing = [exchange.due(now) for exchange in self.exchanges.values()]
        return self.owes_pulse or any(owing)
