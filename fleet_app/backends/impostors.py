"""Servers that imitate an engine we adopt and are not it.

LocalAI, SGLang, Docker Model Runner, Lemonade and KoboldCpp all answer Ollama's paths, SGLang looks like vLLM. Each is
known by one body of its own; meeting one ends the look with its name, so that a person who gave its address reads what
was found there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_app.backends.adapter import Adapter
from fleet_app.backends.conversation import Silence, Unanswered
from fleet_app.backends.shape import as_object, owners

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.backends.conversation import Conversation
    from fleet_app.backends.wire import Wire
    from fleet_app.presence import BackendPresence


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one server answers at `path`, and nobody else."""

    name: str
    path: str
    fits: Callable[[object], bool]


def _software(body: object) -> object:
    return as_object(as_object(body).get("software")).get("name")


BY_MODEL_LIST = (
    _Mark("SGLang", "/v1/models", lambda body: "sglang" in owners(body)),
    _Mark("Docker Model Runner", "/v1/models", lambda body: "docker" in owners(body)),
)
BY_OWN_PATHS = (
    _Mark("TabbyAPI", "/.well-known/serviceinfo", lambda body: _software(body) == "TabbyAPI"),
    _Mark("KoboldCpp", "/.well-known/serviceinfo", lambda body: _software(body) == "KoboldCpp"),
    _Mark("KoboldCpp", "/api/extra/version", lambda body: as_object(body).get("result") == "KoboldCpp"),
    _Mark("Lemonade", "/api/v1/health", lambda body: "all_models_loaded" in as_object(body)),
    _Mark("LocalAI", "/system", lambda body: {"backends", "loaded_models"} <= as_object(body).keys()),
    _Mark("Docker Model Runner", "/engines/v1/models", lambda body: "docker" in owners(body)),
)


class Impostors:
    """A signature that never matches: it ends the look when one of `marks` fits."""

    def __init__(self, marks: tuple[_Mark, ...]) -> None:
        self._marks = marks

    async def recognise(self, talk: Conversation) -> BackendPresence | None:
        """Return None.

        Raises:
            Unanswered: One of the marks fits.
        """
        for mark in self._marks:
            if mark.fits((await talk.try_get(mark.path)).content):
                reason = f"{mark.name} answers there, which is not supported yet"
                raise Unanswered(Silence.STRANGER, reason, retryable=False)
        return None

    def adapter(self, wire: Wire, presence: BackendPresence) -> Adapter:
        """See `Signature`. It never matches, so there is none to make."""
        return Adapter(wire, presence)
