"""The admin API over real HTTP, its two files, and the client that finds the node by them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from fleet_app.admin import (
    AdminClient,
    NodeFile,
    RotationReply,
    create_admin_token,
    read_node_file,
    remove_node_file,
    running_node,
    write_node_file,
)
from fleet_app.admin.api import AdminApi
from fleet_app.errors import FleetError
from propagul.errors import IdentityError
from tests.cli import nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


TOKEN = "the-token-of-this-run"


class Node(nodes.Node):
    """A node's actions that remember what they were asked."""

    def __init__(self) -> None:
        self.orders: list[tuple[object, ...]] = []
        self.under_way = False

    def status(self) -> dict[str, object]:
        return {"nodes": [], "models": {}, "notices": ["a notice"]}

    def invite(self, *, expires_s: int, uses: int, admin: bool) -> str:
        self.orders.append((expires_s, uses, "admin") if admin else (expires_s, uses))
        if uses == 13:
            raise IdentityError("this node does not hold the room's secret")
        return f"invite-{expires_s}-{uses}"

    def revoke(self, node: str) -> None:
        self.orders.append((node,))
        if node == "nobody":
            raise IdentityError("that is no node's id")

    def rotation(self) -> RotationReply:
        return RotationReply(under_way=self.under_way, ours=True, left_s=60, followed=("a",), missing=("b",))

    def rotate(self, *, overlap_s: int) -> None:
        self.orders.append((overlap_s,))
        self.under_way = True

    def finish_rotation(self) -> None:
        if not self.under_way:
            raise IdentityError("the secret is not being changed")
        self.under_way = False


@contextlib.asynccontextmanager
async def served(node: Node, token: str = TOKEN) -> AsyncIterator[str]:
    """Serve the API on a free loopback port; yield `host:port`."""
    app = web.Application()
    app.add_routes(AdminApi(node, token).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def ask(
    method: str, path: str, *, authorization: str | None = f"Bearer {TOKEN}", body: bytes | None = None
) -> tuple[int, dict[str, object], Node]:
    node = Node()
    headers = {} if authorization is None else {"Authorization": authorization}
    async with (
        served(node) as where,
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{where}{path}", headers=headers, data=body) as reply,
    ):
        assert reply.headers["Cache-Control"] == "no-store"
        return reply.status, await reply.json(), node


def node_file(gateway: str = "127.0.0.1:1", pid: int | None = None, started: float | None = None) -> NodeFile:
    return NodeFile(
        pid=os.getpid() if pid is None else pid,
        id="a" * 52,
        name="box",
        gateway=gateway,
        listen="0.0.0.0:8788",
        started=time.time() if started is None else started,
    )


def test_the_owner_reads_the_status() -> None:
    status, body, _ = asyncio.run(ask("GET", "/admin/status"))
    assert (status, body["notices"]) == (200, ["a notice"])


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}",
     "Bearer \udcff"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [("GET", "/admin/status"), ("POST", "/admin/invite"),
     ("POST", "/admin/revoke"), ("GET", "/admin/rotation"), ("POST", "/admin/rotation"),
     ("POST", "/admin/rotation/finish")])  # fmt: skip
def test_a_stranger_learns_nothing(method: str, path: str, authorization: str | None) -> None:
    status, body, node = asyncio.run(ask(method, path, authorization=authorization, body=b'{"expires_s":60,"uses":1}'))
    assert status == 401
    assert set(body) == {"error"}
    assert TOKEN not in str(body)
    assert node.orders == []


def test_an_invite_comes_with_the_line_to_type() -> None:
    status, body, node = asyncio.run(ask("POST", "/admin/invite", body=b'{"expires_s": 60, "uses": 2}'))
    assert status == 200
    assert body == {"token": "invite-60-2", "command": "propagul fleet up --join invite-60-2"}
    assert node.orders == [(60, 2)]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"{}", b'{"uses": 1}', b'{"expires_s": "60"}',
     b'{"expires_s": 60.5}', b'{"expires_s": true}', b'{"expires_s": 0}', b'{"expires_s": -1}', b'{"expires_s": 9e99}',
     b'{"expires_s": 2592001}', b'{"expires_s": 60, "uses": 0}', b'{"expires_s": 60, "uses": 1001}',
     b'{"expires_s": 60, "uses": null}', b'{"expires_s": 60, "root": true}', b'{"expires_s": 60, "admin": 1}',
     b'{"expires_s": NaN}', b"[" * 2000],
)  # fmt: skip
def test_a_malformed_order_is_refused_and_does_nothing(body: bytes) -> None:
    status, reply, node = asyncio.run(ask("POST", "/admin/invite", body=body))
    assert status == 400
    assert "error" in reply
    assert node.orders == []


@pytest.mark.parametrize(
    ("path", "body"),
    [("revoke", b"{}"), ("revoke", b'{"node": 5}'), ("revoke", b'{"node": ""}'), ("rotation", b"{}"),
     ("revoke", b'{"node": "' + b"x" * 65 + b'"}'), ("rotation", b'{"overlap_s": -1}'), ("rotation", b"null"),
     ("rotation", b'{"overlap_s": 2592001}'), ("rotation", b'{"overlap_s": "1"}')],
)  # fmt: skip
def test_a_malformed_order_about_keys_is_refused_and_does_nothing(path: str, body: bytes) -> None:
    status, reply, node = asyncio.run(ask("POST", f"/admin/{path}", body=body))
    assert status == 400
    assert "error" in reply
    assert node.orders == []


def test_the_client_shuts_out_and_changes_the_secret(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node()
        async with served(node, create_admin_token(tmp_path)) as where:
            write_node_file(tmp_path, node_file(where))
            client = AdminClient.from_data_dir(tmp_path)
            await asyncio.to_thread(client.revoke, "x")
            with pytest.raises(FleetError, match="the node refuses: that is no node's id"):
                await asyncio.to_thread(client.revoke, "nobody")
            with pytest.raises(FleetError, match="the node refuses: the secret is not being changed"):
                await asyncio.to_thread(client.finish_rotation)
            begun = await asyncio.to_thread(client.rotate, overlap_s=5)
            assert begun == await asyncio.to_thread(client.rotation)
            assert (begun.under_way, begun.left_s, begun.followed, begun.missing) == (True, 60, ("a",), ("b",))
            assert not (await asyncio.to_thread(client.finish_rotation)).under_way
            await asyncio.to_thread(client.invite, expires_s=60, uses=1, admin=True)
            assert node.orders == [("x",), ("nobody",), (5,), (60, 1, "admin")]

    asyncio.run(scenario())


def test_a_refusal_never_repeats_what_was_sent() -> None:
    _, reply, _ = asyncio.run(ask("POST", "/admin/invite", body=b'{"expires_s": "canary-value"}'))
    assert "canary-value" not in str(reply)
    assert "expires_s" in str(reply)


def test_an_order_over_4_kib_is_refused_while_it_is_read() -> None:
    status, _, node = asyncio.run(ask("POST", "/admin/invite", body=b" " * 5000 + b'{"expires_s": 60}'))
    assert (status, node.orders) == (413, [])


def test_a_node_that_cannot_invite_says_why() -> None:
    status, body, _ = asyncio.run(ask("POST", "/admin/invite", body=b'{"expires_s": 60, "uses": 13}'))
    assert status == 409
    assert "does not hold the room's secret" in str(body)


def test_both_files_are_their_owners_alone(tmp_path: Path) -> None:
    token = create_admin_token(tmp_path)
    write_node_file(tmp_path, node_file())
    assert len(token) == 43
    assert (tmp_path / "admin.token").read_text() == token
    for name in ("admin.token", "node.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_every_start_has_a_token_of_its_own_and_follows_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "admin.token").symlink_to(elsewhere)
    assert create_admin_token(tmp_path) != create_admin_token(tmp_path)
    assert elsewhere.read_text() == "untouched"


def test_a_node_file_is_read_back_and_replaced(tmp_path: Path) -> None:
    assert read_node_file(tmp_path) is None
    assert read_node_file(tmp_path / "absent") is None
    write_node_file(tmp_path, node_file(gateway="127.0.0.1:1"))
    write_node_file(tmp_path, node_file(gateway="127.0.0.1:2"))
    found = running_node(tmp_path)
    assert found is not None
    assert found.gateway == "127.0.0.1:2"


def test_a_clean_end_removes_its_own_files_and_no_others(tmp_path: Path) -> None:
    create_admin_token(tmp_path)
    write_node_file(tmp_path, node_file(pid=1))
    remove_node_file(tmp_path)
    assert read_node_file(tmp_path) is not None
    write_node_file(tmp_path, node_file())
    remove_node_file(tmp_path)
    remove_node_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


def ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(30)
    return child.pid


def test_a_node_file_outlived_by_its_process_is_known(tmp_path: Path) -> None:
    write_node_file(tmp_path, node_file(pid=ended_pid()))
    assert running_node(tmp_path) is None
    with pytest.raises(FleetError, match=r"is gone; start it with: propagul fleet up"):
        AdminClient.from_data_dir(tmp_path)


def test_a_pid_that_another_process_has_inherited_is_not_the_node(tmp_path: Path) -> None:
    write_node_file(tmp_path, node_file(started=1.0))
    assert running_node(tmp_path) is None


def test_a_damaged_node_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"pid": "canary-value"}')
    with pytest.raises(FleetError, match=r"node\.json is damaged") as caught:
        AdminClient.from_data_dir(tmp_path)
    assert "canary-value" not in str(caught.value)


def test_no_node_at_all_is_said_with_the_command_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"no node runs on .*; start one with: propagul fleet up"):
        AdminClient.from_data_dir(tmp_path)


def test_the_client_finds_the_node_by_its_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        node, token = Node(), create_admin_token(tmp_path)
        async with served(node, token) as where:
            write_node_file(tmp_path, node_file(where))
            client = AdminClient.from_data_dir(tmp_path)
            assert token not in repr(client)
            assert (await asyncio.to_thread(client.status))["notices"] == ["a notice"]
            reply = await asyncio.to_thread(client.invite, expires_s=60, uses=1)
            assert reply.token == "invite-60-1"
            with pytest.raises(FleetError, match="the node refuses: this node does not hold the room's secret"):
                await asyncio.to_thread(client.invite, expires_s=60, uses=13)

    asyncio.run(scenario())


def test_a_token_that_does_not_fit_is_said_without_showing_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        token = create_admin_token(tmp_path)
        async with served(Node(), "another") as where:
            write_node_file(tmp_path, node_file(where))
            with pytest.raises(FleetError, match=r"refuses the token in admin\.token") as caught:
                await asyncio.to_thread(AdminClient.from_data_dir(tmp_path).status)
            assert token not in str(caught.value)

    asyncio.run(scenario())


def test_a_node_that_does_not_answer_is_said_so(tmp_path: Path) -> None:
    create_admin_token(tmp_path)
    write_node_file(tmp_path, node_file("127.0.0.1:1"))
    with pytest.raises(FleetError, match=r"the node at 127\.0\.0\.1:1 does not answer: Connection refused"):
        AdminClient.from_data_dir(tmp_path).status()


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b""])  # fmt: skip
def test_a_stranger_on_the_nodes_port_is_known_for_one(tmp_path: Path, answer: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            create_admin_token(tmp_path)
            write_node_file(tmp_path, node_file(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
            with pytest.raises(FleetError, match=r"does not speak like a node|does not answer"):
                await asyncio.to_thread(AdminClient.from_data_dir(tmp_path).status)

    asyncio.run(scenario())
