"""What can be declared, field by field: how a value is read, and what it is when nobody says.

One table serves the file, the command line and the rows of the replica, so that the three can never differ. A reader
takes a plain value (None, bool, int, float, str, list, dict), returns the form that is stored, and complains without
naming the field; who calls it knows where the value stood.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fleet_app.desired.selector import Selector
from fleet_app.presence import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Table = Literal["models", "nodes", "settings"]

TEXT_CHARACTERS_MAX: Final = 256
NAME_CHARACTERS_MAX: Final = 256
NUMBER_END: Final = 10**18
_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes:
        read: From a plain value to the stored one. Raises ValueError.
        about: What it says, for `--help` and the documentation.
        open_keys: The field is a mapping with keys of the user's own; each is a row, and `read` reads one value.
    """

    read: Callable[[object], object]
    about: str
    open_keys: bool = False


def _where(value: object) -> object:
    return Selector.read(value).packed()


def _one_of(*words: str) -> Callable[[object], object]:
    def read(value: object) -> object:
        if value not in words:
            raise ValueError(f"is {' or '.join(words)}, not {_shown(value)}")
        return value

    return read


def _flag(value: object) -> object:
    if value is not True and value is not False:
        raise ValueError(f"is true or false, not {_shown(value)}")
    return value


def _count(low: int, high: int) -> Callable[[object], object]:
    def read(value: object) -> object:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"is a whole number from {low} to {high}, not {_shown(value)}")
        return value

    return read


def _text(value: object) -> object:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARACTERS_MAX or not value.isprintable():
        raise ValueError(f"is text of 1 to {TEXT_CHARACTERS_MAX} printable characters, not {_shown(value)}")
    return value


def _name(value: object) -> object:
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.isprintable():
        raise ValueError(f"is 1 to 64 printable characters, not {_shown(value)}")
    return value


def _setting(value: object) -> object:
    if isinstance(value, (bool, int, float)):
        if not -NUMBER_END < value < NUMBER_END:
            raise ValueError("is a number of at most 18 digits")
        return value
    return _text(value)


def _span(value: object) -> object:
    """Seconds out of `24h`, `90m`, `45s`, `2d`."""
    found = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"is a length of time such as 24h, 90m or 2d, not {_shown(value)}")
    seconds = round(float(found[1]) * _SECONDS[found[2]])
    if not 60 <= seconds <= 366 * 86400:
        raise ValueError("is between one minute and a year")
    return f"{found[1]}{found[2]}"


def seconds_of(span: str) -> float:
    """The seconds of a stored length of time."""
    found = _SPAN.fullmatch(span)
    assert found is not None
    return float(found[1]) * _SECONDS[found[2]]


def _shown(value: object) -> str:
    """A value in few characters, however long it is: it may be a peer's."""
    return _SHORT.repr(value)[:80]


STATES: Final = ("present", "absent")

TABLES: Final[Mapping[Table, Mapping[str, Field]]] = {
    "models": {
        "where": Field(_where, "which nodes: `all`, names, or parts such as {labels: {gpu: nvidia}, vram_gb: '>=8'}"),
        "state": Field(_one_of(*STATES), "`present` (the default), or `absent`: its weights are deleted there"),
        "engine": Field(_one_of(*(kind for kind in KINDS if kind != "unknown")), "only engines of this kind"),
        "replicas": Field(_count(1, 1000), "on so many of these nodes at least; all of them when left out"),
        "loaded": Field(_flag, "kept in memory, or kept out of it; neither when left out"),
        "settings": Field(_setting, "how it is loaded, in the engine's own words, such as num_ctx", open_keys=True),
        "source": Field(_text, "the file that declared it"),
        "managed_by": Field(_text, "the file that is watched for it"),
    },
    "nodes": {
        "labels": Field(_text, "labels that selectors ask for", open_keys=True),
        "drain": Field(_flag, "no new requests and no new models, and its replicas do not count"),
        "cordon": Field(_flag, "no new models"),
        "expected": Field(_one_of("always", "sometimes"), "`sometimes`: its absence is never a loss"),
        "name": Field(_name, "what people call it"),
        "forgotten": Field(_flag, "not shown, and not counted, until it is heard again"),
    },
    "settings": {
        "disruptions_per_hour": Field(_count(0, 1000), "deletes, unloads and reloads a node may do in an hour"),
        "pulls_per_node": Field(_count(1, 16), "pulls at a time on one node"),
        "replace_after": Field(_span, "how long a node is away before its replicas count as lost"),
    },
}
"""Every field that can be declared, by its table."""

IN_FILES: Final[Mapping[Table, frozenset[str]]] = {
    "models": frozenset(TABLES["models"]) - {"source", "managed_by"},
    "nodes": frozenset(TABLES["nodes"]) - {"name", "forgotten"},
    "settings": frozenset(TABLES["settings"]),
}
"""Those that people write into a file."""


def is_name(name: str) -> bool:
    """Whether a model or a node may be called so."""
    return 0 < len(name) <= NAME_CHARACTERS_MAX and name.isprintable()


def is_key(field: str, key: str) -> bool:
    """Whether an open mapping may have this key."""
    return bool((_LABEL if field == "labels" else _WORD).fullmatch(key))
