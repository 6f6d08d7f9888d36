"""When local writes are pushed: at once, and in bursts between the processes of one directory now and then.

The loop is woken once for many writes. Between processes a push costs both ends about as much as a write itself does,
so after one the next waits for a moment, in which nobody is woken, and the longer a burst lasts the longer: who writes
a few keys is hardly held up, and who writes all the time spends its time on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from propagul.gossip import GossipConfig

_GROWTH: Final = 1.5
"""Each wait of a burst is so many times as long as the one before."""


class Pushes:
    """Brings local writes of any thread to the loop.

    Args:
        loop: Where pushes happen.
        push: Pushes what was written to a namespace.
        config: How long a push may wait.
        may_wait: Whether it may at all.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        push: Callable[[str], None],
        config: GossipConfig,
        may_wait: Callable[[], bool],
    ) -> None:
        self._loop, self._push, self._config, self._may_wait = loop, push, config, may_wait
        self._wrote: set[str] = set()
        self._rests: dict[str, tuple[float, float]] = {}  # until when, and how long that was
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def wrote(self, space: str) -> None:
        """A local write happened, in any thread. Many of them make one push."""
        if space not in self._wrote and not self._loop.is_closed():
            self._wrote.add(space)
            self._loop.call_soon_threadsafe(self._plan, space)

    def hurry(self) -> None:
        """Somebody waits for others to have what was written until now. Call in the loop."""
        for space, timer in list(self._waiting.items()):
            timer.cancel()
            self._do(space, self._config.process_push_interval_s)

    def _plan(self, space: str) -> None:
        (until, rest_s), now = self._rests.get(space, (float("-inf"), 0.0)), self._loop.time()
        if until > now and self._may_wait():
            self._waiting[space] = self._loop.call_at(until, self._do, space, rest_s * _GROWTH)
        elif until + rest_s > now:
            self._do(space, rest_s * _GROWTH)  # the burst has not ended
        else:
            self._do(space, self._config.process_push_interval_s)

    def _do(self, space: str, rest_s: float) -> None:
        self._waiting.pop(space, None)
        rest_s = min(rest_s, self._config.process_push_interval_s_max)
        self._rests[space] = self._loop.time() + rest_s, rest_s
        self._wrote.discard(space)  # first: what is written from here on is for the next one
        self._push(space)
