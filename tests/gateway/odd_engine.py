"""An engine written by hand, byte by byte, for what no real one would do on request: it misbehaves as told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[["OddEngine", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class OddEngine:
    """Reads whole requests, keeps them, and lets a script write the answer and decide how the connection ends."""

    script: Script
    url: str = ""
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    written_bytes: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(line for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            body = await reader.readexactly(int(length.split(":")[1]))
            self.heads.append(head)
            self.bodies.append(body)
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(reader))
                await self.script(self, writer)
                watch.cancel()
        except* (OSError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(1024):
            pass
        self.left.set()


@asynccontextmanager
async def odd_engine(script: Script) -> AsyncIterator[OddEngine]:
    """Run one on a free loopback port."""
    odd = OddEngine(script)
    server = await asyncio.start_server(odd._serve, "127.0.0.1", 0)
    odd.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield odd
    finally:
        odd.release.set()
        server.close()


def saying(answer: bytes) -> Script:
    """A script that writes these bytes and closes."""

    async def script(_: OddEngine, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


def head(status: str, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    lines += ["Transfer-Encoding: chunked"] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"
