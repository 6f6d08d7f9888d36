"""What is known of one address, and what the next look makes of it. No I/O and no clock: looks are counted.

An address a person named is always shown, with the reason when nothing answers. A port that was merely scanned is
shown while an engine answers; it is dropped at once when the connection is refused, and after three looks without
an answer. Strangers on scanned ports are asked ever more rarely, because each look writes to their logs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.conversation import Silence, Unanswered
from fleet_app.backends.openai import Plain
from fleet_app.backends.signature import seen
from fleet_app.backends.wire import Wire

if TYPE_CHECKING:
    from fleet_app.backends.probe import Finding
    from fleet_app.backends.signature import Signature
    from fleet_app.presence import BackendCondition, BackendPresence

HUNG_LOOKS_MAX = 3
REST_ROUNDS_MAX = 24


@dataclass(slots=True, kw_only=True)
class Watch:
    """One address.

    Attributes:
        url: The kept form.
        named: A person gave it, so it is shown whatever happens.
        api_key: Sent there with each request; never shown.
        presence: What is shown of it; None for nothing.
        signature: What recognised it last; None when nothing has or it is gone.
        engine: What is shown of it, to be told what to do; None for nothing.
    """

    url: str
    named: bool = False
    api_key: str | None = field(default=None, repr=False)
    presence: BackendPresence | None = None
    signature: Signature | None = None
    engine: Adapter | None = None
    _misses: int = 0
    _plain_looks: int = 0
    _rest_rounds: int = 0
    _wait_rounds: int = 0

    def due(self) -> bool:
        """Whether to look this round; call once a round."""
        if self._wait_rounds == 0:
            return True
        self._wait_rounds -= 1
        return False

    @property
    def settled(self) -> bool:
        """Whether its engine was ready, or stands for a key: it can wait for the next whole round."""
        return self.presence is not None and self.presence.condition in {"ready", "needs_key"}

    def known(self) -> Signature | None:
        """The signature to ask first: the last one, but for a plain list now and then everybody is asked again."""
        if isinstance(self.signature, Plain):
            self._plain_looks = (self._plain_looks + 1) % REST_ROUNDS_MAX
            return self.signature if self._plain_looks else None
        return self.signature

    def shown_at(self, url: str) -> bool:
        """Whether `url` is where its engine is shown."""
        return self.presence is not None and self.presence.url == url

    def saw(self, finding: Finding) -> None:
        """Take what the look recognised."""
        if self.engine is None or self.signature is not finding.signature:
            self.signature = finding.signature
            self.engine = finding.signature.adapter(Wire(finding.presence.url, api_key=self.api_key), finding.presence)
        self._take(finding.presence)
        self._misses = self._rest_rounds = self._wait_rounds = 0

    def missed(self, error: Unanswered) -> None:
        """Take that the look recognised nothing."""
        self._misses += 1
        if self.named:
            self._explain(error)
        elif self._may_return(error):
            self._show("unhealthy", error)
        else:
            self._part("unreachable", error)
            self._rest(error)

    def _may_return(self, error: Unanswered) -> bool:
        silent = error.silence in {Silence.HUNG, Silence.BROKEN}
        return self.presence is not None and silent and self._misses <= HUNG_LOOKS_MAX

    def _explain(self, error: Unanswered) -> None:
        if error.silence in {Silence.STRANGER, Silence.GATEWAY}:
            self._part("unhealthy", error)
            self._show("unhealthy", error)
        else:
            self._show("unreachable", error)

    def _part(self, condition: BackendCondition, error: Unanswered) -> None:
        """Forget the engine; whoever holds it sees how it ended."""
        if self.engine is not None:
            self._show(condition, error)
        self.presence = self.signature = self.engine = None

    def _show(self, condition: BackendCondition, error: Unanswered) -> None:
        last = self.presence
        kind, url, version = (last.kind, last.url, last.version) if last else ("unknown", self.url, None)
        self._take(seen(kind, url, condition=condition, reason=str(error), version=version))

    def _take(self, presence: BackendPresence) -> None:
        """Show it; whoever holds the engine sees it, too."""
        self.presence = presence
        if self.engine is None:
            self.engine = Adapter(Wire(presence.url, api_key=self.api_key), presence)
        self.engine.seen = presence

    def _rest(self, error: Unanswered) -> None:
        """After a stranger, skip 1, 2, 4, 8, 16, then 24 rounds."""
        stranger = error.silence in {Silence.STRANGER, Silence.GATEWAY} and not error.retryable
        self._rest_rounds = min(REST_ROUNDS_MAX, max(1, 2 * self._rest_rounds)) if stranger else 0
        self._wait_rounds = self._rest_rounds
