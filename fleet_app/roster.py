"""Who is in the fleet and how they are: the store's rows folded into a `FleetView`.

Durable rows say who belongs to the fleet (`nodes/<id>`: name, addresses, version), presence says how each is. A node
is up while it is known to live: within the presence limit on a link of our own, within `RELAYED_S_MAX` when we hear
of it only through others, so that a box whose link broke is shown down soon. How often it beats has no part in that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleet_app.desired import NodeSpec
from fleet_app.presence.account import Account
from fleet_app.presence.ear import Ear
from fleet_app.view import FleetView, NodeView
from propagul.link import NodeId

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.presence import NodePresence
    from fleet_app.view import NodeState, Reach
    from propagul import AgentStateStore

NODES = "nodes/"
RELAYED_S_MAX = 5.0
_FRESH_S = 0.1
_NAME_CHARS_MAX = 64
_ADDRESSES_MAX = 16
_NOTICES_MAX = 8


@dataclass(slots=True)
class _Last:
    """What a node has said, kept after it fell silent."""

    account: Account
    heard_at: float


class Roster:
    """Computes the view at most every 0.1 s, however often it is asked, and more rarely for who can wait.

    Args:
        store: The replica.
        heartbeat: What this node has to say.
        spec: What is declared of a node.
        monotonic: Seconds.
        notices: What else a person should read.
    """

    def __init__(
        self,
        store: AgentStateStore,
        heartbeat: Callable[[], NodePresence],
        spec: Callable[[str], NodeSpec] = NodeSpec,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        notices: Callable[[], list[str]] = list,
    ) -> None:
        self._store, self._told = store, notices
        self._heartbeat = heartbeat
        self._spec = spec
        self._monotonic = monotonic
        self._ear = Ear(store.presence, NODES)
        self._unread: set[str] = set()
        self._last: dict[NodeId, _Last] = {}
        self._rows: tuple[object, dict[NodeId, object]] = (None, {})
        self._view: FleetView | None = None
        self._viewed_at = float("-inf")

    def view(self, fresh_s: float = _FRESH_S) -> FleetView:
        """The fleet as this node sees it now, or saw it at most `fresh_s` ago."""
        now = self._monotonic()
        if self._view is None or now - self._viewed_at > fresh_s:
            self._view, self._viewed_at = self._compute(now), now
        return self._view

    def _compute(self, now: float) -> FleetView:
        self._unread |= self._ear.listen(now)
        heard = {NodeId(node): age_s for node in self._ear.nodes() if (age_s := self._ear.heard_s(node)) is not None}
        linked, known = self._store.linked(), self._known()
        for node, age_s in heard.items():
            last = self._last.setdefault(node, _Last(Account(now), now))
            last.heard_at = now - age_s
            if node in self._unread and last.account.take(self._ear.rows(node), now):
                self._unread.discard(node)
        others = [
            self._node(node, known.get(node), node in heard, node in linked, now)
            for node in sorted({*known, *self._last} - {self._store.node})
        ]
        here = self._as_declared(self._here(known.get(self._store.node)))
        others = [self._as_declared(node) for node in others if node.state != "down" or not self._is_forgotten(node)]
        others.sort(key=lambda node: (node.name.casefold(), node.id))
        return FleetView(nodes=(here, *others), notices=tuple(self._notices(now, others)))

    def _is_forgotten(self, node: NodeView) -> bool:
        return self._spec(node.id).is_forgotten

    def _as_declared(self, node: NodeView) -> NodeView:
        """The node by the name that it was given, and drained if that was said of it."""
        spec = self._spec(node.id)
        state: NodeState = "draining" if spec.is_drained and node.state == "up" else node.state
        if (spec.name or node.name, state) == (node.name, node.state):
            return node
        return replace(node, name=spec.name or node.name, state=state)

    def _known(self) -> dict[NodeId, object]:
        """The durable row of each node that belongs to the fleet."""
        revision = self._store.revision
        if revision != self._rows[0]:
            rows = ((key.removeprefix(NODES), row) for key, row in self._store.get_all(NODES).items())
            self._rows = revision, {NodeId(node): row for node, row in rows if "/" not in node}
        return self._rows[1]

    def _here(self, row: object) -> NodeView:
        presence = self._heartbeat()
        _, addresses = _identity(row, self._store.node)
        return NodeView(
            id=self._store.node,
            name=presence.name,
            state=presence.state,
            reach="here",
            heard_s=0.0,
            figures_s=0.0,
            presence=presence,
            addresses=addresses,
        )

    def _node(self, node: NodeId, row: object, speaking: bool, linked: bool, now: float) -> NodeView:  # noqa: FBT001 - values
        last = self._last.get(node)
        name, addresses = _identity(row, node)
        heard_s = None if last is None else now - last.heard_at
        reach: Reach = "none"
        if speaking and linked:
            reach = "linked"
        elif speaking and heard_s is not None and heard_s <= RELAYED_S_MAX:
            reach = "relayed"
        said = None if last is None else last.account.presence(now, last.heard_at)
        return NodeView(
            id=node,
            name=name if said is None else said.name,
            state="down" if reach == "none" or said is None else said.state,
            reach=reach,
            heard_s=heard_s,
            figures_s=None if last is None else last.account.figures_s(now),
            presence=said,
            addresses=addresses,
        )

    def _notices(self, now: float, others: list[NodeView]) -> list[str]:
        refused = [
            f"turned away {refusal.count} {'caller' if refusal.count == 1 else 'callers'} from {refusal.host}: "
            f"{refusal.reason} (last {max(0, now - refusal.last_s):.0f} s ago)"
            for refusal in self._store.refusals()
        ]
        unread = [sentence for node in others if (sentence := self._trouble(node, now))]
        unlinked = [f"cannot link: {trouble}" for trouble in self._store.troubles()]
        return (self._told() + unread + refused + unlinked)[-_NOTICES_MAX:]

    def _trouble(self, node: NodeView, now: float) -> str:
        """What is wrong with what a living node says, in words; empty if nothing is."""
        last = self._last.get(NodeId(node.id))
        if last is None or node.reach == "none":
            return ""
        if last.account.is_flooded:
            return f"{node.name} sends far more than a node has to say; most of it is passed over"
        if last.account.refused:
            return f"{node.name} sends rows this version cannot read: update the older of the two"
        if last.account.is_late(now):
            return f"{node.name} is there, but its figures are {node.figures_s or 0:.0f} s old"
        return ""


def _identity(row: object, node: NodeId) -> tuple[str, tuple[str, ...]]:
    """Name and addresses out of a durable row that some member wrote."""
    fields = row if isinstance(row, dict) else {}
    name, addresses = fields.get("name"), fields.get("addresses")
    return (
        name[:_NAME_CHARS_MAX] if isinstance(name, str) and name else node[:8],
        tuple(a for a in addresses if isinstance(a, str))[:_ADDRESSES_MAX] if isinstance(addresses, list) else (),
    )
