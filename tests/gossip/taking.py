"""Taking frames or blocks as a mesh does, with what they need of a disk read in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.gossip import DiskRead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def taken(items: Iterable[bytes | DiskRead]) -> Iterator[bytes]:
    for item in items:
        if isinstance(item, DiskRead):
            item.run()
        else:
            yield item
