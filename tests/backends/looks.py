"""Looking at one address, and waiting for a scanner, in one line."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from fleet_app.backends import Scanner, identify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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
