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
    """One namespace over a link, made as any other, then `be_patient`."""

    __slots__ = ("_is_question",)

    def be_patient(self) -> ExchangePatient:
        """Ask for nothing by itself from here on, but with the first telling."""
        self._is_question = True
        return self

    def ask(self) -> None:
        """See `Exchange.ask`."""
        self._is_question = True
        super().ask()

    def resume(self) -> bool:
        """See `Exchange.resume`: what the peer told of while its rows came is asked for with the acknowledgement."""
        news = super().resume()
        self._is_question = self._is_question or self.lags
        return news

    def _must_ask(self) -> bool:
        return False

    def _asks(self) -> bool:
        asks, self._is_question = self._is_question, False
        return asks
