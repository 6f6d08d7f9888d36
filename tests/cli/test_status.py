"""`fleet status` and `fleet invite` against a running admin API: what people and programs are shown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fleet_app.admin import NodeFile, RotationReply, create_admin_token, write_node_file
from fleet_app.admin.api import AdminApi
from fleet_app.cli.elsewhere import places
from fleet_app.cli.invite import seconds_of
from fleet_app.cli.words import ago, of_total
from fleet_app.errors import ConfigError
from fleet_app.presence import BackendPresence, Cpu, Gpu, Model, NodePresence, Usage
from fleet_app.view import FleetView, NodeView
from tests.cli import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Shell

GIB = 1024**3
REVOKED: list[str] = []
ROTATION = [RotationReply(under_way=False)]


def fleet() -> FleetView:
    """This node with a GPU, one that says hostile things, one that has gone."""
    ready = BackendPresence(kind="ollama", url="http://x", condition="ready", models=tuple(map(named, "edcba")))
    hung = BackendPresence(kind="vllm", url="http://y", condition="needs_key", reason="401")
    box1 = NodePresence(
        name="box1", version="1", at_s=1, started_s=1, cpu=Cpu(percent=12.4, cores=8),
        ram=Usage(used_bytes=3 * GIB, total_bytes=16 * GIB), backends=(ready, hung),
        gpus=(Gpu(index=0, name="RTX 4090", percent=45, vram=Usage(used_bytes=10 * GIB, total_bytes=24 * GIB)),),
    )  # fmt: skip
    evil = NodePresence(name="evil", version="1", at_s=1, started_s=1)
    return FleetView(
        nodes=(
            NodeView(id="a" * 52, name="box1", state="up", reach="here", heard_s=0.0, presence=box1),
            NodeView(
                id="b" * 52, name="[red]e\x1b[31m\nvil", state="draining", reach="relayed", heard_s=3, presence=evil
            ),
            NodeView(id="c" * 52, name="gone", state="down", reach="none", heard_s=7200, presence=box1),
            NodeView(id="d" * 52, name="new", state="down", reach="none", heard_s=None, presence=None),
        ),
        notices=("3 strangers were turned away\x07",),
    )


def named(letter: str) -> Model:
    return Model(name=f"model-{letter}")


class Node(nodes.Node):
    def status(self) -> dict[str, object]:
        return fleet().to_json()

    def invite(self, *, expires_s: int, uses: int, admin: bool) -> str:
        return f"invite-{expires_s}-{uses}{'-admin' if admin else ''}"

    def revoke(self, node: str) -> None:
        REVOKED.append(node)

    def rotation(self) -> RotationReply:
        return ROTATION[-1]

    def rotate(self, *, overlap_s: int) -> None:
        ROTATION.append(RotationReply(under_way=True, ours=True, left_s=overlap_s, missing=("late\x1b[31m",)))

    def finish_rotation(self) -> None:
        ROTATION.append(RotationReply(under_way=False))


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """Run the admin API in a thread with its own loop, as a node on `data_dir` would."""
    loop, ready, where = asyncio.new_event_loop(), threading.Event(), ""
    stop = asyncio.Event()

    async def serve() -> None:
        nonlocal where
        app = web.Application()
        app.add_routes(AdminApi(Node(), create_admin_token(data_dir)).routes())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        where = "{}:{}".format(*runner.addresses[0][:2])
        write_node_file(
            data_dir,
            NodeFile(pid=os.getpid(), id="a" * 52, name="box1", gateway=where, listen="h:1", started=time.time()),
        )
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield where
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "d"
    path.mkdir()
    with running(path):
        yield path


def test_the_table_says_in_words_what_each_node_is(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "status", "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    for words in ("this node", "0 s ago", "ollama", "vllm (needs key: 401)", "model-a, model-b", "and 1 more"):
        assert words in " ".join(done.stdout.split()), words
    for words in ("12%", "3.0/16.0 GiB", "RTX 4090 45% 10.0/24.0 GiB"):
        assert words in done.stdout
    assert "2 h ago" in rows["gone"]
    assert "GiB" not in rows["gone"]
    assert "never" in rows["new"]


def test_what_other_machines_wrote_is_neither_markup_nor_obeyed(shell: Shell, data_dir: Path) -> None:
    shown = shell("fleet", "status", "--data-dir", str(data_dir)).stdout
    assert "[red]e [31m vil" in shown
    assert "! 3 strangers were turned away" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_json_is_the_fleet_view_and_who_answered(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "status", "--json", PROPAGUL_DATA_DIR=str(data_dir))
    answer = json.loads(done.stdout)
    own = answer.pop("self")
    assert answer == fleet().to_json()
    assert (own["id"], own["name"], own["pid"]) == ("a" * 52, "box1", os.getpid())


def test_an_invite_stands_alone_on_stdout(shell: Shell, data_dir: Path) -> None:
    done = shell("fleet", "invite", "--expires", "90m", "--uses", "2", "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout) == (0, "invite-5400-2\n")
    assert "For 2 boxes, usable for 90 m" in done.stderr
    assert "propagul fleet up --join -" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sudo")
def test_a_node_under_the_usual_directory_is_named_when_another_was_asked(shell: Shell, tmp_path: Path) -> None:
    usual = tmp_path / ".local/share/propagul"
    usual.mkdir(parents=True)
    with running(usual):
        line = shell.complaint("fleet", "status", "--data-dir", str(tmp_path / "other"), code=1)
    assert f"'box1' runs on your own {usual}; ask it with: --data-dir {usual}" in line


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sudo")
def test_root_and_the_caller_of_sudo_are_both_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = {place.user: str(place.data_dir) for place in places({"SUDO_USER": "daemon"}, tmp_path)}
    assert found["root"].endswith("/root/.local/share/propagul")
    assert found["daemon"].endswith("/.local/share/propagul")
    assert found[""] == str(tmp_path / ".local/share/propagul")
    assert [place.user for place in places({"SUDO_USER": "no-such-user-here"}, tmp_path)] == ["root", ""]


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90s", 90), ("30m", 1800), ("1h", 3600), ("30d", 2592000)])
def test_a_span_is_read_in_its_unit(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1h30m", "0m", "31d", "１h", "99999999s"])  # noqa: RUF001 - a wide digit
def test_anything_else_is_no_span(text: str) -> None:
    with pytest.raises(ConfigError, match="--expires: write a span"):
        seconds_of(text)


def test_amounts_and_spans_read_well() -> None:
    assert [ago(s) for s in (None, 0, 59, 90, 7200, 200_000)] == [
        "never", "0 s ago", "59 s ago", "2 min ago", "2 h ago", "2 d ago",
    ]  # fmt: skip
    assert of_total(0, 0) == "0.0/0.0 B"
    assert of_total(GIB // 2, GIB) == "0.5/1.0 GiB"
    assert of_total(1, 2**60) == "0.0/1024.0 PiB"
