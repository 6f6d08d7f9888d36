"""Nodes and declarations for tests, in a line each."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fleet_app.desired import Desired, NodeFacts, NodeSpec, Place
from fleet_app.desired.rows import By, Value
from fleet_app.presence import BackendPresence, Model, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GIB, GB = 1024**3, 10**9
BY = By("ann@attic", 1_764_000_000.0, "test")


def node(
    name: str, *models: str, vram_gib: float | None = None, labels: dict[str, str] | None = None, **engine: object
) -> NodeFacts:
    """A node with an Ollama that has some models of 4 GB each."""
    told = {"kind": "ollama", "condition": "ready", "can": ("pull", "delete", "load", "unload"), **engine}
    listed = tuple(Model(name=model, loaded=False, size_bytes=4 * GB) for model in models)
    seen = BackendPresence.model_validate({"url": f"http://{name}", "models": listed, **told})
    return NodeFacts(
        id=name.ljust(52, "0"),
        name=name,
        labels=labels or {},
        spec=NodeSpec(name.ljust(52, "0")),
        engines=(seen,),
        disk=Usage(used_bytes=0, total_bytes=100 * GB),
        vram_bytes=None if vram_gib is None else int(vram_gib * GIB),
        vram_used_bytes=None if vram_gib is None else 0,
    )


def declared(**models: Mapping[str, object]) -> Desired:
    """What is declared, by model and field."""
    values = {
        Place("models", name, field): Value(value, BY)
        for name, fields in models.items()
        for field, value in fields.items()
    }
    return Desired.of(values)


class Rows:
    """As much of a store as edits need; nothing is written outside of a transaction."""

    def __init__(self) -> None:
        self.values: dict[str, list[object]] = {}
        self._is_open = False

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.values if key.startswith(prefix))

    def items(self, prefix: str) -> Iterator[tuple[str, object]]:
        return iter([(key, self.values[key][0]) for key in self.keys(prefix)])

    def siblings(self, key: str) -> list[object]:
        return self.values.get(key, [])

    def set(self, key: str, value: object) -> None:
        assert self._is_open
        self.values[key] = [value]

    def delete(self, key: str) -> bool:
        assert self._is_open
        return self.values.pop(key, None) is not None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
