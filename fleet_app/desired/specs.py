"""What is declared, put together: models, nodes and settings, read from the rows of one instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from fleet_app.desired.fields import seconds_of
from fleet_app.desired.rows import Place, Rows, Unreadable, Value, read
from fleet_app.desired.selector import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A declared model.

    Attributes:
        name: As it was declared.
        values: What is declared of it, by `(field,)` or `(field, key)`.
    """

    name: str
    values: Mapping[tuple[str, ...], Value]

    @property
    def where(self) -> Selector | None:
        """Which nodes it is about; None while nobody says, and then it is about none."""
        found = self.values.get(("where",))
        return None if found is None else Selector.read(found.value)

    @property
    def is_absent(self) -> bool:
        """Whether its weights are to be gone: said once, and not contradicted at the same time."""
        found = self.values.get(("state",))
        return found is not None and found.value == "absent" and not found.rivals

    @property
    def is_contested(self) -> bool:
        """Whether `present` and `absent` were written at the same time: then nothing is pulled and nothing deleted."""
        found = self.values.get(("state",))
        return found is not None and bool(found.rivals)

    @property
    def engine(self) -> str | None:
        """The kind of engine; None for any."""
        return cast("str | None", self._get("engine"))

    @property
    def replicas(self) -> int | None:
        """The least number of nodes; None for all that `where` means."""
        return cast("int | None", self._get("replicas"))

    @property
    def loaded(self) -> bool | None:
        """Whether it is to be in memory; None for no matter."""
        return cast("bool | None", self._get("loaded"))

    @property
    def settings(self) -> dict[str, object]:
        """How it is loaded."""
        return {path[1]: found.value for path, found in self.values.items() if path[0] == "settings"}

    @property
    def managed_by(self) -> str | None:
        """The file that is watched for it."""
        return cast("str | None", self._get("managed_by"))

    @property
    def source(self) -> str | None:
        """The file that declared it."""
        return cast("str | None", self._get("source"))

    def conflicts(self) -> dict[str, Value]:
        """Fields that were written at the same time, with what holds and what else was written."""
        return {".".join(path): found for path, found in self.values.items() if found.rivals}

    def _get(self, field: str) -> object:
        found = self.values.get((field,))
        return None if found is None else found.value


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What is declared of a node. See `ModelSpec` for `values`."""

    id: str
    values: Mapping[tuple[str, ...], Value] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """Labels that people gave it."""
        return {path[1]: cast("str", found.value) for path, found in self.values.items() if path[0] == "labels"}

    @property
    def is_drained(self) -> bool:
        """No new requests, no new models, and its replicas do not count."""
        return self._get("drain") is True

    @property
    def is_cordoned(self) -> bool:
        """No new models."""
        return self.is_drained or self._get("cordon") is True

    @property
    def is_sometimes(self) -> bool:
        """Its absence is never a loss."""
        return self._get("expected") == "sometimes"

    @property
    def name(self) -> str | None:
        """What people call it, if somebody renamed it."""
        return cast("str | None", self._get("name"))

    @property
    def is_forgotten(self) -> bool:
        """Not shown until it is heard again."""
        return self._get("forgotten") is True

    def _get(self, field: str) -> object:
        found = self.values.get((field,))
        return None if found is None else found.value


@dataclass(frozen=True, slots=True)
class Settings:
    """The fleet's settings."""

    disruptions_per_hour: int = 6
    pulls_per_node: int = 1
    replace_after_s: float = 86400.0


@dataclass(frozen=True, slots=True)
class Desired:
    """All that is declared.

    Attributes:
        models: By name, sorted.
        nodes: By node id.
        settings: The fleet's.
        values: The same, by place.
        unreadable: Rows that this version cannot read; they declare nothing.
    """

    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    nodes: Mapping[str, NodeSpec] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    values: Mapping[Place, Value] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()

    @classmethod
    def of(cls, values: Mapping[Place, Value], unreadable: tuple[Unreadable, ...] = ()) -> Desired:
        """Put values together."""
        models: dict[str, dict[tuple[str, ...], Value]] = {}
        nodes: dict[str, dict[tuple[str, ...], Value]] = {}
        settings: dict[str, object] = {}
        for place, found in sorted(values.items(), key=lambda item: item[0]):
            path = (place.field, place.key) if place.key else (place.field,)
            match place.table:
                case "models":
                    models.setdefault(place.name, {})[path] = found
                case "nodes":
                    nodes.setdefault(place.name, {})[path] = found
                case "settings":
                    settings[place.field] = found.value
        if "replace_after" in settings:
            settings["replace_after_s"] = seconds_of(cast("str", settings.pop("replace_after")))
        return cls(
            {name: ModelSpec(name, fields) for name, fields in models.items()},
            {node: NodeSpec(node, fields) for node, fields in nodes.items()},
            Settings(**settings),  # type: ignore[arg-type]  # read by `fields`
            values,
            unreadable,
        )

    @classmethod
    def read(cls, rows: Rows) -> Desired:
        """What a replica declares now."""
        values, unreadable = read(rows)
        return cls.of(values, tuple(unreadable))

    def node(self, node: str) -> NodeSpec:
        """What is declared of a node; nothing, for most."""
        return self.nodes.get(node) or NodeSpec(node)
