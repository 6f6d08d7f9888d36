"""A node behind the admin API, as far as tests of commands and of the API ask the same of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet_app.admin import ChangeOrder


class Node:
    """Rows, events, log and changes; whatever else is asked of it is its test's own."""

    def rows(self, prefix: str) -> dict[str, list[object]]:
        return {prefix + "row": [1]}

    def events(self, limit: int) -> list[dict[str, object]]:
        return [{"kind": "node_up", "words": f"one of {limit}\x1b[31m", "at_s": 0.0, "node": "attic", "subject": ""}]

    def logs(self, after: int, limit: int) -> list[dict[str, object]]:
        return [{"number": after + 1, "at": "2026-11-30T08:00:00.000+00:00", "level": "info", "event": f"e{limit}\x07"}]

    def change(self, order: ChangeOrder) -> str | None:
        return order.note or None
