"""The seam between the engines beside this node and those who tell them what to do.

`fleet_app.backends` makes these, the reconcilers use them, and the simulator of the fleet brings its own. An engine is
told one thing at a time about one model; what it does to other models is its own business and is seen in the next look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from fleet_app.presence import BackendPresence


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull has come.

    Attributes:
        status: The engine's own words.
        completed_bytes: Of all layers that are known so far.
        total_bytes: Of all layers that are known so far; None until the engine tells. It may grow.
    """

    status: str
    completed_bytes: int = 0
    total_bytes: int | None = None


class Engine(Protocol):
    """One engine beside this node.

    Every verb that is not in `seen.can` raises a terminal `BackendError` that says what to do instead. Errors carry the
    engine's own words, cut to one line of at most 256 characters; `retryable` tells whether trying again may help.
    """

    @property
    def url(self) -> str:
        """Its address, the kept form."""

    @property
    def seen(self) -> BackendPresence:
        """What the last look saw."""

    def named(self, model: str) -> str:
        """The one form in which this engine keeps a model's name: `llama3.2` is `llama3.2:latest` on Ollama.

        Total and idempotent; two names are the same model here if these are equal.
        """

    def pull(self, model: str) -> AsyncGenerator[Progress]:
        """Bring a model onto the disk, and yield how far it has come until it is there.

        It resumes what an earlier pull left, and joins a pull of the same model that is under way in the engine.
        Closing the generator leaves the pull as it is: engines that stop when nobody listens stop, and what came stays.

        Raises:
            BackendError: It failed; a stream that ends without success counts as that.
        """

    async def cancel(self, model: str) -> None:
        """End a pull that goes on in the engine by itself. Without one it does nothing.

        Raises:
            BackendError: The engine refused.
        """

    async def delete(self, model: str) -> None:
        """Remove a model from the disk. One that is not there is no error.

        Raises:
            BackendError: The engine refused.
        """

    async def load(self, model: str, settings: Mapping[str, object]) -> None:
        """Bring a model into memory and keep it there; return when it is.

        Args:
            model: One that is on the disk.
            settings: The engine's own words for how, such as `num_ctx` for Ollama; what it does not know it refuses.

        Raises:
            BackendError: It did not fit, or the engine refused.
        """

    async def unload(self, model: str) -> None:
        """Take a model out of memory. One that is not in it is no error.

        Raises:
            BackendError: The engine refused.
        """

    async def speaks(self, model: str) -> bool:
        """Whether a loaded model brings out a token in time: it is asked for one, once.

        Raises:
            BackendError: The engine answered that it cannot.
        """
