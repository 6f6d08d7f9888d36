"""A node that was started again is linked with at once, though the link to its run before still seems open."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Self

from tests.store.world import FAST, address, loopback, run, until

if TYPE_CHECKING:
    from pathlib import Path

PATIENT = replace(FAST, silence_s_max=3600.0)
"""A link that only seems open is not noticed by its silence."""


class Line:
    """A port that forwards to another one. What one end does to its connection, the other is never told."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()
        await until(lambda: not self._open)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            far, to_far = await asyncio.open_connection(*self._target)
        except ConnectionRefusedError:  # a dial between two runs
            to_near.transport.abort()
            return
        self._open |= {to_near, to_far}
        await asyncio.gather(self._copy(near, to_far), self._copy(far, to_near))
        for writer in (to_near, to_far):
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._open.remove(writer)

    @staticmethod
    async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await source.read(16 * 1024):
                target.write(some)
                await target.drain()


def test_who_dialled_the_run_before_takes_the_next_one_for_it_at_once(tmp_path: Path) -> None:
    """It has the smaller identity: of two links with one run it would keep the one that it dialled itself."""

    async def scenario() -> None:
        stores = [loopback(label, path=tmp_path / label, config=PATIENT) for label in ("one", "other")]
        stays, goes = sorted(stores, key=attrgetter("node"))
        async with stays:
            await goes.start()
            async with Line(address(goes)) as line:
                stays.add_peer(*line.address)
                await until(lambda: goes.node in stays.linked())
                opened = stays.stats.links_opened
                await goes.stop()
                assert goes.node in stays.linked(), "nobody told it"
                stays.set("written meanwhile", 1)
                async with loopback(goes.label, path=tmp_path / goes.label, config=PATIENT) as again:
                    assert again.node == goes.node
                    again.add_peer(*address(stays))
                    await until(lambda: again.get("written meanwhile") == 1)
                    again.set("and answered", 2)
                    await until(lambda: stays.get("and answered") == 2)
                    assert stays.stats.links_opened > opened
                    assert stays.stats.last_drop.endswith("replaced by another link to the same node")

    run(scenario)
