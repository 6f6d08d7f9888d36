"""Links between the processes of one directory: fewer words than on others.

There everybody is linked with everybody and hears what each wrote from itself, and of other machines from the process
that is linked with them. So what came from one of them is told to the others with patience, and what came from
elsewhere is sent to them unasked. And while all of them write, each of them lacks something at any moment that is on
its way already: a digest that acknowledges a delta, or comes before one, is no question, and what a digest tells of is
not asked for at once. Patience decides when something is sent, never what: who is not linked with an author has its
rows from the others when their patience is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from propagul.gossip.exchange import NEVER, Exchange

if TYPE_CHECKING:
    from propagul.crdt import Entry
    from propagul.gossip.messages import Digest

_DOUBT: Final = 4
"""So many times its patience somebody waits for a peer to tell that it has what it lacked: it tells once in a while."""


class ExchangeBeside(Exchange):
    """One namespace over a link to another process of our directory; made as any other, then `be_patient`.

    Attributes:
        patience_s: How long to wait before asking for what was told, and before telling what came from a process.
    """

    __slots__ = ("_doubted", "patience_s")

    def be_patient(self, patience_s: float) -> ExchangeBeside:
        """Wait so long before asking, and before answering what may be no question."""
        self.patience_s = patience_s
        self._doubted: list[Entry] = []
        return self

    def relay(self, at: float) -> None:
        """There is news that only we have: send it then."""
        self._doubted = []
        self.relay_at = min(self.relay_at, at)

    def peer_told(self, digest: Digest) -> bool:
        """Take in a digest; what it asks for, or makes us ask for, may wait.

        The first telling on a link is answered at once, and so is a digest that is nothing but a question. A question
        that goes with an acknowledgement is answered if the peer still lacks then what it lacks now.

        Raises:
            PeerProtocolError: As `Exchange.peer_told`.
        """
        is_first, owed, now = not self.heard, self.owes_delta, self._turn.now
        if super().peer_told(digest):
            self.tell_at = min(self.tell_at, now + self.patience_s)
        if self.owes_delta and not is_first and (digest.applied or digest.rows_follow):
            self.owes_delta = owed
            if self.relay_at == NEVER:
                self._doubt(now)
        return False

    def due(self, now: float) -> bool:
        """See `Exchange.due`."""
        if self.relay_at <= now and self._doubted and self.theirs.covers_all(self._doubted):
            self._doubt(now)
        return super().due(now)

    def _doubt(self, now: float) -> None:
        """Have the peer sent what it lacks now, unless it tells that it has that."""
        lacked = (*self._unsure.items(), *self._untold()[0])
        self._doubted = [entry for entry in lacked if not self.theirs.covers_entry(*entry)]
        self.relay_at = now + _DOUBT * self.patience_s if self._doubted else NEVER
