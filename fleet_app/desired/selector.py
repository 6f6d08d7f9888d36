"""Which nodes a declaration means: all of them, some by name, or those with certain labels and enough memory.

Written `all`, a name, a list of names, or a mapping whose parts must all hold:
`{nodes: [attic], labels: {gpu: nvidia}, vram_gb: ">=8", ram_gb: ">=16"}`. Names are names or ids of nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL = "all"
_GIB = 1024**3
_BOUND = re.compile(r"(>=|<=|>|<|=)?\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)")
_PARTS = ("nodes", "labels", "vram_gb", "ram_gb")
ID_CHARACTERS_MIN = 8


class Place(Protocol):
    """What a selector looks at."""

    @property
    def id(self) -> str:
        """The node's identity."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels, those it has by itself included."""

    @property
    def vram_bytes(self) -> int | None:
        """All memory of its GPUs; None if it cannot tell."""

    @property
    def ram_bytes(self) -> int | None:
        """Its memory; None if it cannot tell."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on an amount of memory in GiB."""

    sign: str
    gib: float

    @classmethod
    def read(cls, value: object) -> Bound:
        """Read `">=8"`, `"<24"` or `8`, which means `>=8`.

        Raises:
            ValueError: It is none of these.
        """
        found = _BOUND.fullmatch(str(value).strip()) if isinstance(value, (str, int, float)) else None
        if found is None or isinstance(value, bool):
            raise ValueError('is a number of GiB with a sign before it, such as ">=8"')
        return cls(found[1] or ">=", float(found[2]))

    def holds(self, amount_bytes: int | None) -> bool:
        """Whether an amount keeps it; one that is not known does not."""
        if amount_bytes is None:
            return False
        gib = amount_bytes / _GIB
        return {
            ">=": gib >= self.gib,
            "<=": gib <= self.gib,
            ">": gib > self.gib,
            "<": gib < self.gib,
            "=": gib == self.gib,
        }[self.sign]

    def __str__(self) -> str:
        return f"{self.sign}{self.gib:.12g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Every part that is given must hold; none given means every node."""

    nodes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    vram_gb: Bound | None = None
    ram_gb: Bound | None = None

    @classmethod
    def read(cls, value: object) -> Selector:
        """Read what stands behind `where`.

        Raises:
            ValueError: It is no selector; the message says which part, and what it can be.
        """
        match value:
            case "all":
                return cls()
            case str() if value:
                return cls(nodes=(value,))
            case list() if value and all(isinstance(name, str) and name for name in value):
                return cls(nodes=tuple(dict.fromkeys(value)))
            case dict() if value:
                return cls._of(value)
            case _:
                raise ValueError(
                    "is `all`, the name of a node, a list of names, or parts such as {labels: {gpu: nvidia}}"
                )

    @classmethod
    def _of(cls, parts: Mapping[object, object]) -> Selector:
        for part in parts:
            if part not in _PARTS:
                raise ValueError(f"has no part {str(part)[:64]!r}; there are {', '.join(_PARTS)}")
        nodes, labels = parts.get("nodes", []), parts.get("labels", {})
        if not isinstance(nodes, list) or not all(isinstance(name, str) and name for name in nodes):
            raise ValueError("nodes: is a list of names")
        if not isinstance(labels, dict) or not all(isinstance(t, str) for pair in labels.items() for t in pair):
            raise ValueError("labels: is a mapping of names to texts")
        bounds = {part: _bound(part, parts[part]) for part in ("vram_gb", "ram_gb") if part in parts}
        return cls(nodes=tuple(dict.fromkeys(nodes)), labels=labels, **bounds)

    @property
    def is_all(self) -> bool:
        """Whether it means every node."""
        return not (self.nodes or self.labels or self.vram_gb or self.ram_gb)

    def packed(self) -> object:
        """What `read` reads; equal selectors pack alike."""
        if self.is_all:
            return ALL
        parts: dict[str, object] = {}
        if self.nodes:
            parts["nodes"] = sorted(self.nodes)
        if self.labels:
            parts["labels"] = dict(sorted(self.labels.items()))
        parts |= {part: str(bound) for part in ("vram_gb", "ram_gb") if (bound := getattr(self, part)) is not None}
        return parts

    def matches(self, place: Place) -> bool:
        """Whether it means this node."""
        return (
            (not self.nodes or any(is_named(place, name) for name in self.nodes))
            and all(place.labels.get(label) == text for label, text in self.labels.items())
            and (self.vram_gb is None or self.vram_gb.holds(place.vram_bytes))
            and (self.ram_gb is None or self.ram_gb.holds(place.ram_bytes))
        )

    def __str__(self) -> str:
        if self.is_all:
            return "every node"
        words = [", ".join(sorted(self.nodes))] if self.nodes else []
        words += [f"{label}={text}" for label, text in sorted(self.labels.items())]
        words += [f"VRAM {self.vram_gb} GiB"] if self.vram_gb else []
        words += [f"memory {self.ram_gb} GiB"] if self.ram_gb else []
        return " and ".join(words)


def _bound(part: str, value: object) -> Bound:
    try:
        return Bound.read(value)
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from None


def is_named(place: Place, name: str) -> bool:
    """Whether a name means this node: its name in any case, its id, or the id's beginning."""
    known = name.casefold() == place.name.casefold() or name == place.id
    return known or (len(name) >= ID_CHARACTERS_MIN and place.id.startswith(name))
