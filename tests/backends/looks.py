"""Looking at one address, and waiting for a scanner, in one line."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from fleet_app.backends import Scanner, identify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fleet_app.presence import BackendPresence

DEADLINE_S = 20.0


def identify_now(url: str, *, api_key: str | None = None) -> BackendPresence | None:
    async def once() -> BackendPresence | None:
        async with aiohttp.ClientSession() as session:
            return await identify(session, url, api_key=api_key)

    return asyncio.run(once())


def scan(scanner: Scanner, rounds: int = 1) -> tuple[BackendPresence, ...]:
    async def all_rounds() -> None:
        for _ in range(rounds):
            await scanner.scan_once()

    asyncio.run(all_rounds())
    return scanner.current()


@asynccontextmanager
async def running(scanner: Scanner) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(scanner.run())
        yield
        task.cancel()


async def until(scanner: Scanner, condition: Callable[[tuple[BackendPresence, ...]], bool]) -> None:
    """Return when what the scanner shows satisfies `condition`; fail after `DEADLINE_S`."""
    changed = asyncio.Event()
    scanner.add_listener(lambda _: changed.set())
    async with asyncio.timeout(DEADLINE_S):
        while not condition(scanner.current()):
            changed.clear()
            await changed.wait()


@asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that speaks raw bytes; yields its address."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            await talk(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        _, stuck = await asyncio.wait([task for task in serving if task], timeout=10)
        assert not stuck
