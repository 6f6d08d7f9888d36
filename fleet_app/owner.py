"""What a node does for its owner: the answers and acts behind `/admin/`. See `fleet_app.admin.api.AdminActions`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleet_app.custody import rotation_reply
from fleet_app.desired import By, commit
from fleet_app.ledger import edits_in, rows_of
from fleet_app.logbook import LOGBOOK

if TYPE_CHECKING:
    from fleet_app.admin import ChangeOrder, RotationReply
    from fleet_app.custody import Custody
    from fleet_app.history import History
    from fleet_app.presence.demand import Demand
    from fleet_app.roster import Roster
    from propagul import AgentStateStore


class Owner:
    """The owner's hand on one node.

    Args:
        store: The replica.
        roster: Who is in the fleet.
        custody: The fleet's keys.
        history: What was.
        demand: Told that somebody looks.
    """

    def __init__(
        self, *, store: AgentStateStore, roster: Roster, custody: Custody, history: History, demand: Demand
    ) -> None:
        self._store, self._roster, self._custody = store, roster, custody
        self._history, self._demand = history, demand

    def status(self) -> dict[str, object]:
        """The fleet as this node sees it, for somebody who may look again."""
        self._demand.touch()
        return self._roster.view().to_json()

    def rows(self, prefix: str) -> dict[str, list[object]]:
        """Rows of the replica, each with all its values."""
        return rows_of(self._store, prefix)

    def change(self, order: ChangeOrder) -> str | None:
        """Change what is declared; see `fleet_app.desired.commit`."""
        by = By(order.author, time.time(), order.via)
        change = commit(self._store, edits_in(order), by, note=order.note, undoes=order.undoes)
        return None if change is None else change.id

    def events(self, limit: int) -> list[dict[str, object]]:
        """The newest events, the newest first. Blocks: reads the disk."""
        names = {node.id: node.name for node in self._roster.view().nodes}
        found = self._history.events.latest(limit)
        return [event.to_json() | {"node": names.get(event.node, event.node)} for event in found]

    def logs(self, after: int, limit: int) -> list[dict[str, object]]:
        """What this process logged lately."""
        return LOGBOOK.lines(after=after, limit=limit)

    def invite(self, *, expires_s: int, uses: int, admin: bool = False) -> str:
        """A token for the next box; see `AgentStateStore.invite`."""
        return self._store.invite(expires_s=expires_s, uses=uses, admin=admin)

    def revoke(self, node: str) -> None:
        """Shut a box out; see `AgentStateStore.revoke`."""
        self._store.revoke(node)

    def rotation(self) -> RotationReply:
        """How far a change of the secret has come."""
        return rotation_reply(self._store.rotation, self._roster.view())

    def rotate(self, *, overlap_s: int) -> None:
        """Begin to change the fleet's secret."""
        self._custody.rotate(overlap_s)

    def finish_rotation(self) -> None:
        """End the former secret now."""
        self._custody.finish()
