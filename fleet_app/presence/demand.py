"""Whether anybody watches the fleet, anywhere: then all of its nodes beat often.

A node where somebody watches says so in a row of its own, `nodes/<id>/watching`, and takes it back when nobody has for
`LINGER_S`. Like all presence it is gone with its node. The rule: whoever shows the fleet to people asks for beats; what
nobody looks at is not paid for by fifty machines.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from propagul import Heard

WATCHING: Final = "watching"

LINGER_S: Final = 20.0
"""A page that is opened again, or a command that is repeated, finds the fleet awake."""


class Said(Protocol):
    """Where a node says something: `AgentStateStore.presence`."""

    def set(self, key: str, value: object) -> None:
        """Say it."""

    def delete(self, key: str) -> None:
        """Take it back."""

    def get(self, key: str, *, bytes_max: int) -> Heard | None:
        """What was heard, `propagul.Oversized` for what is larger."""

    def listen(self, heard: Callable[[str], None]) -> None:
        """Tell of the keys of changes, in any thread."""


class Demand:
    """Who watches.

    Args:
        said: The presence of the fleet.
        nodes: What stands before the ids of nodes.
        node: This one's.
        monotonic: Seconds.
    """

    def __init__(self, said: Said, *, nodes: str, node: str, monotonic: Callable[[], float]) -> None:
        self._said, self._monotonic = said, monotonic
        self._nodes, self._row = nodes, f"{nodes}{node}/{WATCHING}"
        self._elsewhere: set[str] = set()
        said.listen(self._hear)
        self._watchers = 0
        self._until = float("-inf")
        self._is_said = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Somebody watches here while the block runs."""
        self._watchers += 1
        self.touch()
        try:
            yield
        finally:
            self._watchers -= 1
            self.touch()

    def touch(self) -> None:
        """Somebody has looked just now, and may look again."""
        self._until = self._monotonic() + LINGER_S
        self._say(True)

    @property
    def is_here(self) -> bool:
        """Whether somebody watches at this node."""
        return self._watchers > 0 or self._monotonic() < self._until

    def is_anywhere(self) -> bool:
        """Whether somebody watches at any node that is heard. Call it now and then: it lets what is over lapse."""
        self._say(self.is_here)
        return self._is_said or any(self._said.get(row, bytes_max=0) for row in tuple(self._elsewhere))

    def _hear(self, key: str) -> None:
        """Rows are kept, not what stands in them: who is out of reach watches again when it is back."""
        if key.endswith(WATCHING) and key.startswith(self._nodes) and key.count("/") == 2 and key != self._row:
            self._elsewhere.add(key)

    def _say(self, watched: bool) -> None:  # noqa: FBT001 - a value
        if watched and not self._is_said:
            self._said.set(self._row, 1)
        elif self._is_said and not watched:
            self._said.delete(self._row)
        self._is_said = watched
