"""How long items live: as many minutes as each says after it was last used. See `_expiry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul_langgraph._expiry import Expiry

if TYPE_CHECKING:
    from propagul_langgraph._memory.items import Get, Stored


class Lifetimes(Expiry):
    """The rows that say until when items live, by the items' paths."""

    def read(self, item: Stored, get: Get) -> None:
        """An item was read: it lives on from now."""
        if item.ttl is not None:
            self.used(item.path, 60 * item.ttl, since=item.updated.timestamp(), get=get)

    def is_past(self, item: Stored, get: Get) -> bool:
        """Whether an item has expired."""
        if item.ttl is None:
            return False
        return self.is_over(item.path, 60 * item.ttl, since=item.updated.timestamp(), get=get)
