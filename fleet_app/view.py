"""The fleet as one node sees it: replica rows and presence folded into typed views.

Pure functions over what the store holds; gateway, dashboard and `fleet status` read these and nothing else, so that
they can never disagree. No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from fleet_app.presence import NodePresence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.presence import BackendPresence

NodeState = Literal["up", "draining", "down"]
Reach = Literal["here", "linked", "relayed", "none"]
"""How this node reaches another: it is this node, a link of its own, only through others, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One member of the fleet.

    Attributes:
        id: The node's identity, 52 characters.
        name: What its owner called it.
        state: `up` (heard within the presence limit), `draining` (it said so), `down` (known, not heard).
        reach: How this node reaches it.
        heard_s: Seconds since it was last known to live, by this node's own clock; None if never heard.
        figures_s: Seconds since what moves of it (load, memory, temperature) was last said; None if never. Nodes say it
            anew when it has moved, and often only while somebody watches.
        presence: All it said last; None if never heard. Figures that are overdue are left out.
        addresses: Where it listens, as `host:port`.
    """

    id: str
    name: str
    state: NodeState
    reach: Reach
    heard_s: float | None
    presence: NodePresence | None
    addresses: tuple[str, ...] = ()
    figures_s: float | None = None

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Self:
        """What `to_json` made, of this version or another.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        state, reach, presence = said["state"], said["reach"], said["presence"]
        if state not in get_args(NodeState) or reach not in get_args(Reach):
            raise ValueError("of a newer version")
        return cls(
            id=str(said["id"]),
            name=str(said["name"]),
            state=state,
            reach=reach,
            heard_s=said["heard_s"],
            presence=None if presence is None else NodePresence.model_validate(presence),
            addresses=tuple(map(str, said["addresses"])),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object for the dashboard and `fleet status --json`."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "reach": self.reach,
            "heard_s": None if self.heard_s is None else round(self.heard_s, 1),
            "figures_s": None if self.figures_s is None else round(self.figures_s, 1),
            "addresses": list(self.addresses),
            "presence": None if self.presence is None else self.presence.model_dump(mode="json"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A model at one engine of one node that could serve it now."""

    node: NodeView
    backend: BackendPresence


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """All members, this node first, then by name."""

    nodes: tuple[NodeView, ...]
    notices: tuple[str, ...] = field(default=())
    """Sentences a person should read: refused strangers, version or clock trouble."""

    def placements(self) -> Mapping[str, tuple[Placement, ...]]:
        """Every model name with the places that can serve it now: nodes that are up, engines that are ready."""
        found: dict[str, list[Placement]] = {}
        for node in self.nodes:
            if node.state != "up" or node.presence is None:
                continue
            for backend in node.presence.backends:
                if backend.condition == "ready":
                    for model in backend.models:
                        found.setdefault(model.name, []).append(Placement(node=node, backend=backend))
        return {name: tuple(places) for name, places in sorted(found.items())}

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Self:
        """What `to_json` made, of this version or another.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        notices = tuple(map(str, said.get("notices", ())))
        return cls(nodes=tuple(NodeView.of_json(node) for node in said["nodes"]), notices=notices)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `models` maps each model name to the names of the nodes that serve it."""
        return {
            "nodes": [node.to_json() for node in self.nodes],
            "models": {name: sorted({p.node.name for p in places}) for name, places in self.placements().items()},
            "notices": list(self.notices),
        }
