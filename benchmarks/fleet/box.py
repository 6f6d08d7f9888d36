"""A real node: `propagul fleet up` in a process of its own with its default settings, asked as the commands ask it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.gossip.company import until
from benchmarks.gossip.relay import LOOPBACK, free_port
from fleet_app.addresses import parse_address
from fleet_app.admin import AdminClient, read_node_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Box:
    """One that runs.

    Attributes:
        name: What it is called.
        data_dir: Where it lives.
        process: It.
    """

    def __init__(self, name: str, data_dir: Path, pid: int) -> None:
        self.name, self.data_dir, self.process = name, data_dir, psutil.Process(pid)
        told = read_node_file(data_dir)
        assert told is not None
        self.id, self.listen = told.id, parse_address(told.listen)

    def cpu_s(self) -> float:
        """Processor time that it and what it started has taken so far."""
        return float(sum(self.process.cpu_times()[:4]))

    def rss_mb(self) -> float:
        """Memory that it has now."""
        return float(self.process.memory_info().rss / 1e6)

    async def status(self) -> dict[str, Any]:
        """The fleet as it sees it. Whoever asks is taken to watch."""
        return await asyncio.to_thread(AdminClient.from_data_dir(self.data_dir).status)

    async def nodes(self) -> dict[str, dict[str, Any]]:
        """Every node as it sees it, by name."""
        return {node["name"]: node for node in (await self.status())["nodes"]}


@contextlib.asynccontextmanager
async def box(name: str, home: Path, secret: str, *more: str) -> AsyncIterator[Box]:
    """Run a node until the block ends; returns when it is up.

    Raises:
        AssertionError: It did not come up.
    """
    data_dir, log = home / name, home / f"{name}.log"
    command = [sys.executable, "-P", "-m", "fleet_app", "fleet", "up", "--name", name, "--data-dir", str(data_dir)]
    command += ["--listen", f"{LOOPBACK}:{free_port()}", "--gateway", f"{LOOPBACK}:{free_port()}", *more]
    environ = {**os.environ, "PROPAGUL_GOSSIP_SECRET": secret}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - its cost is read by its number, and nothing waits for it here
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ
        )
    told = data_dir / "node.json"
    try:
        await until(lambda: told.exists() or process.poll() is not None, f"{name} is up", pause_s=0.05)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield Box(name, data_dir, process.pid)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:
            process.kill()
