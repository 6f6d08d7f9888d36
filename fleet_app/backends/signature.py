"""The seam of this package: how one engine is recognised and its models read.

A signature asks a `Conversation` for the engine's own endpoints and answers with what it saw, or None for "not mine".
It matches the shape of bodies, never a status or a port. Asking again gives the next observation, so watching an
engine costs only its own endpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from fleet_app.backends.shape import as_name
from fleet_app.presence import BackendCondition, BackendKind, BackendPresence, Model, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet_app.backends.adapter import Adapter
    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire

MODELS_MAX = 5000
REASON_CHARS_MAX = 256
NO_KEY = "it wants an API key, and ours is missing or wrong; name its address with a key: --backend URL=KEY_FILE"


class Load(NamedTuple):
    """How busy an engine is by its own count; None where it does not tell."""

    slots: int | None = None
    running: int | None = None
    queued: int | None = None


UNTOLD = Load()


class Signature(Protocol):
    """One engine."""

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """What the engine at this address serves now; None when it is another one.

        Raises:
            Unanswered: The address does not answer, or is known to be something else.
        """

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """The engine it recognised, to be told what to do over `wire`."""


def seen(
    kind: BackendKind,
    url: str,
    *,
    models: Iterable[Model] = (),
    version: object = None,
    condition: BackendCondition = "ready",
    reason: str = "",
    can: tuple[Verb, ...] = (),
    load: Load = UNTOLD,
) -> BackendPresence:
    """A presence within the limits of `fleet_app.presence`; the first of two models with one name counts.

    Models are listed only when the engine is ready: nothing is advertised that could not be served.
    """
    listed = tuple({model.name: model for model in reversed(tuple(models))}.values())[::-1]
    if condition != "ready":
        listed = ()
    if len(listed) > MODELS_MAX:
        reason = f"only the first {MODELS_MAX} of {len(listed)} models are listed"
    return BackendPresence(
        kind=kind,
        url=url,
        condition=condition,
        reason=reason[:REASON_CHARS_MAX],
        version=as_name(version),
        models=listed[:MODELS_MAX],
        can=can if condition == "ready" else (),
        slots=load.slots,
        running=load.running,
        queued=load.queued,
    )
