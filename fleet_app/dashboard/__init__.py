"""The fleet's page: live cards of every node, the models, and a small chat, in one browser tab.

`Dashboard` is the whole face of this room: its routes go into the application that answers `/`, its `run` is one task
of the node, its `aclose` comes before that application is shut down. The room reads `FleetView` and nothing else, and
writes nothing. Who may open the page at all (Host, Origin, keys) is decided in front of it, for every route alike.
"""

from __future__ import annotations

from fleet_app.dashboard.board import Dashboard

__all__ = ["Dashboard"]
