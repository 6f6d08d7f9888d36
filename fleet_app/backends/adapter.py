"""What every adapter shares: an address, what the last look saw, and a refusal of each verb the engine has not.

An adapter is one engine at one address, as `fleet_app.engine.Engine` describes it. It is made by the signature that
recognised the engine and told of every further look; between looks it keeps nothing that a restart could not lose.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

from fleet_app.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping

    from fleet_app.backends.wire import Wire
    from fleet_app.engine import Progress
    from fleet_app.presence import BackendPresence


class Adapter:
    """An engine that is only looked at; engines that can do more derive from it.

    Attributes:
        seen: What the last look saw.
    """

    instead: ClassVar[str] = "do it with the engine's own tools"
    """What a person does where no verb helps."""

    def __init__(self, wire: Wire, seen: BackendPresence) -> None:
        self.seen = seen
        self._wire = wire

    @property
    def url(self) -> str:
        """See `Engine`."""
        return self.seen.url

    def named(self, model: str) -> str:
        """See `Engine`. Most engines keep a name as it is."""
        return model

    async def pull(self, model: str) -> AsyncGenerator[Progress]:
        """See `Engine`."""
        raise self._cannot("pull", model)
        yield  # makes this a generator

    async def cancel(self, model: str) -> None:
        """See `Engine`. Most engines have no pull that goes on by itself."""

    async def delete(self, model: str) -> None:
        """See `Engine`."""
        raise self._cannot("delete", model)

    async def load(self, model: str, settings: Mapping[str, object]) -> None:  # noqa: ARG002 - those who can, use it
        """See `Engine`."""
        raise self._cannot("load", model)

    async def unload(self, model: str) -> None:
        """See `Engine`."""
        raise self._cannot("unload", model)

    async def speaks(self, model: str) -> bool:
        """See `Engine`."""
        raise self._cannot("speaks", model)

    def _cannot(self, verb: str, model: str) -> BackendError:
        return BackendError(f"{self.seen.kind} cannot {verb} {model}: {self.instead}", retryable=False)

    def _known(self, settings: Mapping[str, object], known: Collection[str]) -> None:
        """Refuse settings that this engine has not.

        Raises:
            BackendError: One of them is unknown.
        """
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(known))}"
                raise BackendError(f"{self.seen.kind} has no setting {key!r} for loading; {hint}", retryable=False)
