"""Links between the processes of one directory: fewer words than on others.

There everybody is linked with everybody and hears what each wrote from itself, and of other machines from the process
that is linked with them. So what came from one of them is told to the others with patience, and what came from
elsewhere is sent to them unasked. And while all of them write, each of them lacks something at any moment that is on
its way already: a digest that acknowledges a delta, or comes before one, is no question, and what a digest tells of is
not asked for at once. Patience decides when something is sent, never what: who is not linked with an author has its
rows from the others when their patience is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from propagul.gossip.exchange import Exchange
    from propagul.gossip.messages import Digest


def pass_on(exchange: Exchange, at: float, *, is_theirs: bool) -> None:
    """There is news: tell of it then, if it `is_theirs`, from another process of the directory, else send it then."""
    if is_theirs:
        exchange.tell_at = min(exchange.tell_at, at)
    else:
        exchange.relay_at = min(exchange.relay_at, at)


def take(digest: Digest, exchange: Exchange, until: float) -> None:
    """Take in a digest; what it asks for, or makes us ask for, may wait until then.

    The first telling on a link is answered at once, and so is a digest that is nothing but a question.

    Raises:
        PeerProtocolError: As `Exchange.peer_told`.
    """
    is_first, owed = not exchange.heard, exchange.owes_delta
    if exchange.peer_told(digest):
        exchange.tell_at = min(exchange.tell_at, until)
    if exchange.owes_delta and not is_first and (digest.applied or digest.rows_follow):
        exchange.owes_delta = owed
        exchange.relay_at = min(exchange.relay_at, until)
