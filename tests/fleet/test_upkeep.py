"""A node's days: it starts without a name, takes what its file says, is backed up while it runs, and ends when told."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from typing import TYPE_CHECKING

from fleet_app.backup import restore
from fleet_app.config import load, reloading
from fleet_app.membership import obtain
from fleet_app.node import Node
from propagul.link import Identity
from tests.fleet.boxes import node, propagul, wait_for

if TYPE_CHECKING:
    from pathlib import Path


def test_a_running_node_takes_its_file_is_backed_up_and_ends_at_sigterm_without_a_traceback(tmp_path: Path) -> None:
    """0.9.0 ended with exit code 1 and a traceback."""
    file = tmp_path / "node.yaml"
    file.write_text("backends: http://127.0.0.1:9\n")

    def notices() -> str:
        token = (a.data_dir / "admin.token").read_text()
        answer = json.loads(a.request("GET", "/admin/status", headers={"Authorization": f"Bearer {token}"})[2])
        return "\n".join(answer["notices"])

    def engines() -> list[str]:
        return [engine["url"] for engine in a.node("attic")["presence"]["backends"]]

    with node("attic", tmp_path / "a", "--config", str(file)) as a:
        identity = a.node("attic")["id"]
        assert engines() == ["http://127.0.0.1:9"]
        file.write_text("backends: http://127.0.0.1:10\nlog_format: json\nallow_plaintext: true\n")
        a.process.send_signal(signal.SIGHUP)
        wait_for(lambda: engines() == ["http://127.0.0.1:10"], 20)
        wait_for(lambda: '"event": "config file read again, in force: backends, log_format"' in a.printed, 20)
        file.write_text("backends: http://127.0.0.1:11\nnaem: x\n")
        wait_for(lambda: "node.yaml:2: 'naem' is no setting" in notices(), 20)
        assert engines() == ["http://127.0.0.1:10"]
        made = propagul("fleet", "backup", str(tmp_path / "b.tar"), "--data-dir", str(a.data_dir))
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith("attic at ")
        assert "the identity of this node and the fleet's secret: keep it as safe as a key" in made.stdout
        assert a.stop() == 0
        assert "Traceback" not in a.printed
    assert restore(tmp_path / "b.tar", tmp_path / "new").node == identity
    assert Identity.load_or_create(tmp_path / "new" / "identity.key").node == identity


async def started(data_dir: Path, file: Path) -> Node:
    """A node in this process, told the rest by a file."""
    flags = {"data_dir": str(data_dir), "listen": "127.0.0.1:0", "gateway": "127.0.0.1:0", "detect": "false"}
    settings = reloading(load(flags, environ={}, config_file=file), flags, environ={}, config_file=file)
    box = Node(settings, await obtain(settings))
    await box.start()
    return box


def test_a_node_takes_another_name_and_says_what_needs_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        file = tmp_path / "node.yaml"
        file.write_text("name: attic\n")
        box = await started(tmp_path / "data", file)
        try:
            file.write_text("name: cellar\nmdns: false\nsecret_file: secret\n")
            (tmp_path / "secret").write_text("thirty characters of a secret!")
            (tmp_path / "secret").chmod(0o600)
            assert box.settings.reload is not None
            await box.settings.reload.look()
            status = box.owner.status()
            assert [node.name for node in box.view().nodes] == ["cellar"]
            assert status["notices"] == [f"{file}: what it says of secret needs a restart of this node"]
            assert json.loads((tmp_path / "data" / "node.json").read_text())["name"] == "cellar"
            row = box.store.get(f"nodes/{box.store.node}")
            assert isinstance(row, dict)
            assert row["name"] == "cellar"
        finally:
            await box.stop()

    asyncio.run(scenario())


def test_a_node_that_is_told_to_stop_returns_although_people_hold_it_open(tmp_path: Path) -> None:
    """0.9.0 never returned from `start` once its proxy ran."""

    async def scenario() -> None:
        (tmp_path / "node.yaml").write_text("mdns: false\n")
        box, stop = await started(tmp_path / "data", tmp_path / "node.yaml"), asyncio.Event()
        running = asyncio.create_task(box.run(stop))
        idle, watching = (socket.create_connection(box.gateway) for _ in range(2))
        with idle, watching:
            watching.sendall(f"GET /events HTTP/1.1\r\nHost: {box.gateway}\r\n\r\n".encode())
            reader, writer = await asyncio.open_connection(sock=watching)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            stop.set()
            async with asyncio.timeout(30):
                await running
                await box.stop()
            writer.close()

    asyncio.run(scenario())
