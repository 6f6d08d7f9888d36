"""What is declared in a form that pages show: plain values and short words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleet_app.desired.specs import Desired, ModelSpec


def declared_json(desired: Desired) -> list[dict[str, Any]]:
    """One JSON object a declared model, by name."""
    return [_model(spec) for spec in desired.models.values()]


def _model(spec: ModelSpec) -> dict[str, Any]:
    newest = max(spec.values.values(), key=lambda value: value.by.at_s)
    return {
        "name": spec.name,
        "where": None if spec.where is None else str(spec.where),
        "absent": spec.is_absent,
        "replicas": spec.replicas,
        "loaded": spec.loaded,
        "engine": spec.engine,
        "managed_by": spec.managed_by,
        "conflicts": sorted(spec.conflicts()),
        "by": newest.by.author,
        "at_s": newest.by.at_s,
    }
