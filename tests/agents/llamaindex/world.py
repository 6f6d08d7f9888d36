"""What the tests of stores share: names, and a comparison with LlamaIndex's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from hypothesis import strategies as st

from propagul import AgentStateStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

KEYS: Final = st.sampled_from(["a", "a", "a", "b/c", "é", ""])
_T = TypeVar("_T")


class Face:
    """A store by its methods for programs without a loop, or by those for programs with one."""

    def __init__(self, store: object, *, by_async: bool) -> None:
        self.store, self._by_async = store, by_async

    async def call(self, method: str, *arguments: object) -> object:
        """What a method, named as without a loop, answers."""
        names = [f"a{method}", f"async_{method}"] if self._by_async else [method]
        answer = next(getattr(self.store, name) for name in names if hasattr(self.store, name))(*arguments)
        return await answer if self._by_async else answer


def both_say_the_same(
    made: Callable[[AgentStateStore], object],
    theirs: object,
    history: Sequence[_T],
    say: Callable[[Face, _T], Awaitable[object]],
) -> None:
    """Take the steps of a history with ours, by either face in turn, and with theirs."""

    async def scenario() -> None:
        for number, step in enumerate(history):
            answer = await say(Face(ours, by_async=bool(number % 2)), step)
            assert answer == await say(Face(theirs, by_async=False), step)

    held = AgentStateStore("room", port=None)
    ours = made(held)
    try:
        asyncio.run(scenario())
    finally:
        held.close()
