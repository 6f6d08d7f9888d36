"""Model names: when two of them mean the same model to an engine.

Only Ollama writes one model in several ways. A name there is `[host/][namespace/]model[:tag]`; what is left out is the
registry, `library` and `latest`, and case does not count. Everywhere else a name is what the engine says it is.
"""

from __future__ import annotations

import functools

_REGISTRY = "registry.ollama.ai/"
_LIBRARY = "library/"


@functools.lru_cache(maxsize=8192)
def canonical(kind: str, name: str) -> str:
    """The one form of a name at an engine of this kind. Total and idempotent."""
    return short(name).casefold() if kind == "ollama" else name


def short(name: str) -> str:
    """The shortest form of an Ollama name that still has its tag."""
    return tagged(name.removeprefix("https://").removeprefix(_REGISTRY).removeprefix(_LIBRARY))


def tagged(name: str) -> str:
    """An Ollama name with its tag, `:latest` where it has none."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
