"""What the fleet serves, in OpenAI's shape: one entry a model, whichever nodes and engines have it.

Pure functions over a `FleetView`. `propagul` in an entry is ours: where the model is and whether an engine holds it
in memory, None where no engine tells. `created` is when the first of its nodes started, by that node's own clock:
engines put the present time there, which would change with every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet_app.errors import GatewayError
from fleet_app.gateway.openai_errors import RETRY_AFTER_S, model_not_found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleet_app.view import FleetView, Placement


def within_reach(view: FleetView) -> Mapping[str, tuple[Placement, ...]]:
    """Every model with the places that can serve it and that some path reaches."""
    reached = {
        model: tuple(place for place in places if place.node.reach != "none")
        for model, places in view.placements().items()
    }
    return {model: places for model, places in reached.items() if places}


def model_list(view: FleetView) -> dict[str, object]:
    """The body of `GET /v1/models`."""
    return {"object": "list", "data": [model_entry(name, places) for name, places in within_reach(view).items()]}


def model_entry(name: str, places: Sequence[Placement]) -> dict[str, object]:
    """One model of the list. `places` is not empty."""
    held = [model.loaded for place in places for model in place.backend.models if model.name == name]
    started_s = [place.node.presence.started_s for place in places if place.node.presence is not None]
    return {
        "id": name,
        "object": "model",
        "created": int(min(started_s, default=0)),
        "owned_by": "propagul",
        "propagul": {
            "nodes": sorted({place.node.name for place in places}),
            "engines": sorted({place.backend.kind for place in places}),
            "loaded": True if True in held else None if None in held else False,
        },
    }


def missing(view: FleetView, model: str) -> GatewayError:
    """Why nobody can serve `model` now: unknown to the fleet, or known and not ready."""
    for node in view.nodes:
        for backend in node.presence.backends if node.presence is not None else ():
            if any(held.name == model for held in backend.models):
                where = f"{node.name} is {node.state}, its {backend.kind} engine is {backend.condition}"
                message = f"the model is known and cannot be served now: {where}"
                return GatewayError(
                    message, status=503, kind="api_error", code="model_not_ready", retry_after_s=RETRY_AFTER_S
                )
    return model_not_found(within_reach(view))
