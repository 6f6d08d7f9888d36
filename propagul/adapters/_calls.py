"""Calls that may wait for disk or peers, from an event loop that must not.

Each loop has threads of its own for them, and not those of `asyncio.to_thread`: a store that runs in the loop needs
some of these to send what the calls wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from propagul import AgentStateStore

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREADS_MAX: Final = 32
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


@contextlib.contextmanager
def waiting_once(store: AgentStateStore) -> Iterator[None]:
    """What is written inside is waited for at its end, if that is how the store's writes wait. After an exception not.

    Raises:
        LocalProtocolError: It would have to wait, in the thread of the event loop that the store runs in.
        NotReplicated: As a write.
    """
    if store.waits:
        store.check_may_wait()
    with store.without_waiting():
        yield
    if store.waits:
        store.settle()


async def in_thread(call: Callable[[], _T]) -> _T:
    """Call in a thread; if cancelled, end only when the call has, so that what comes next finds it done."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    if loop not in _pools:
        _pools[loop] = ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix="propagul")
    done = loop.run_in_executor(_pools[loop], lambda: context.run(call))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        while not done.done():
            with contextlib.suppress(asyncio.CancelledError):  # once is enough
                await asyncio.wait([done])
        _ = done.cancelled() or done.exception()  # or asyncio would say that nobody asked
        raise


def asynchronous(method: Callable[_P, _T]) -> Callable[_P, Coroutine[None, None, _T]]:
    """The same for event loops, by `in_thread`: a decorator, or what makes a second face of a method."""

    @functools.wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await in_thread(lambda: method(*args, **kwargs))

    return call
