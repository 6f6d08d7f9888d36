"""What a write that has returned survives.

os         the end of this process: the bytes are in the kernel
group      a power cut: one sync of the disk for everybody who waits, after the write became visible
each       a power cut: synced before the write becomes visible
peers:n    the loss of this machine: n other members have logged it
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Literal, cast

from propagul.errors import LocalProtocolError

Level = Literal["os", "group", "each", "peers"]


@dataclass(frozen=True, slots=True)
class Durability:
    """A level, and for `peers` how many.

    Attributes:
        level: What a write waits for.
        peers: How many members, for the level `peers`.
    """

    level: Level
    peers: int = 0

    @classmethod
    def parse(cls, text: str) -> Durability:
        """Read `os`, `group`, `each` or `peers:n`.

        Raises:
            ValueError: It is none of these.
        """
        level, colon, count = text.partition(":")
        if level in ("os", "group", "each") and not colon:
            return cls(cast("Level", level))
        if level == "peers" and count.isascii() and count.isdigit() and 0 < int(count) < 1000:
            return cls("peers", int(count))
        raise ValueError(f"durability is os, group, each or peers:n with n from 1 to 999, not {text!r}")

    def check(self, *, has_path: bool) -> None:
        """Say what is missing for it.

        Raises:
            LocalProtocolError: A disk level without a path.
        """
        if self.level in ("group", "each") and not has_path:
            raise LocalProtocolError(f"durability {self.level!r} needs a path: without one nothing is on a disk")

    def check_may_wait(self, home: asyncio.AbstractEventLoop) -> None:
        """Refuse to wait in the thread whose event loop everything waits for.

        Raises:
            LocalProtocolError: The caller runs in the store's own loop.
        """
        check_may_wait(
            home,
            f"a write at durability {str(self.level)!r}",
            "use `await asyncio.to_thread(...)`, or durability 'os' and `await store.flush()`",
        )


def check_may_wait(home: asyncio.AbstractEventLoop, what: str, instead: str) -> None:
    """Refuse to wait in the thread whose event loop everything waits for.

    Raises:
        LocalProtocolError: The caller runs in the store's own loop; it says what waits and what to do `instead`.
    """
    with contextlib.suppress(RuntimeError):  # no loop runs in this thread
        if asyncio.get_running_loop() is home:
            raise LocalProtocolError(f"{what} waits, and would stop the event loop that the store runs in: {instead}")
