"""Taking frames or blocks as a mesh does, with what must be done in a thread in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.gossip import InThread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def taken(items: Iterable[bytes | InThread]) -> Iterator[bytes]:
    for item in items:
        if isinstance(item, InThread):
            item.run()
        else:
            yield item
