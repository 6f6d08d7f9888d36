"""Exchanges of namespaces whose rows may wait: whoever lacks something asks for it, once.

Elsewhere every telling is a question as well: whoever reads it sends what its author lacks. That is soonest, and where
a row is told of on six links at about the same time, it comes two or three times. Here a telling says by itself that it
asks for nothing, but the first one on a link; what a neighbour told of and did not come is asked for when the node says
so (`propagul.gossip.asking`). *Invariant*: where we lag behind what a peer has told, the node is to ask it, or it was
asked after it had told that.
"""

from __future__ import annotations

from propagul.gossip.exchange import Exchange


class ExchangePatient(Exchange):
    """One namespace over a link, made as any other."""

    __slots__ = ()

    asks_always = False

    def resume(self) -> bool:
        """See `Exchange.resume`: what the peer told of while its rows came is asked for then."""
        came = self._intake.stage is not None
        news = super().resume()
        if came and self.lags:
            self.ask()
        return news
