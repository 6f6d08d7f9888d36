"""A program that is killed after what it wrote is at a peer, and the two places where it can go on."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.store.world import address, loopback
from tests.workshop.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from propagul import AgentStateStore

PROGRAM = """
import asyncio, importlib, sys
sys.path.insert(0, "integrations")
from pathlib import Path
from tests.store.world import loopback

async def main():
    async with loopback("killed", path=Path(sys.argv[1])) as store:
        store.add_peer("127.0.0.1", int(sys.argv[2]))
        said = await getattr(importlib.import_module(sys.argv[3]), sys.argv[4])(store)
        await store.flush(peers=1)
        print(said, flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@contextmanager
def killed(
    life: Callable[[AgentStateStore], Coroutine[Any, Any, str]], path: Path
) -> Iterator[tuple[str, list[AgentStateStore]]]:
    """What a function said in a process that was killed then, and the stores: a peer's, and its own opened again."""
    peer = loopback("peer")
    peer.start_background()
    command = [sys.executable, "-c", PROGRAM, str(path), str(address(peer)[1]), life.__module__, life.__name__]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        process.kill()
    own = loopback("killed", path=path)
    try:
        yield said, [peer, own]
    finally:
        own.close()
        peer.close()
