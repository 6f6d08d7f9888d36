"""What people read of what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DOING: Final[Mapping[str, str]] = {
    "pull": "being pulled",
    "delete": "being deleted",
    "load": "being loaded",
    "unload": "being unloaded",
    "cancel": "gone",
    "ask": "loaded",
}

MUTE: Final = "it is loaded, and brings out no token"


DONE: Final[Mapping[str, str]] = {
    "pull": "{model} was pulled",
    "delete": "{model} was deleted",
    "load": "{model} was loaded",
    "unload": "{model} was unloaded",
}

FAILED: Final[Mapping[str, str]] = {
    "pull": "the pull of {model} failed: {error}",
    "delete": "{model} could not be deleted: {error}",
    "load": "{model} could not be loaded: {error}",
    "unload": "{model} could not be unloaded: {error}",
}
