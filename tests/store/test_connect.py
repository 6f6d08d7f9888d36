"""A store by one line of text: what each form opens, and that nothing which might be a secret is repeated."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import propagul
from propagul import AgentStateStore, LocalProtocolError, StoreError, connect
from tests.log.processes import Nursery
from tests.store.world import FAST, ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = """
import asyncio
from propagul import connect
with connect(arguments[0]) as store:
    say(store.room)
    for line in lines:
        if not line.strip():
            break
        said = eval(line)
        say(repr(said))
say("closed")
"""


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.005)


# Each form.


def test_a_directory_keeps_what_is_written_and_needs_no_secret(tmp_path: Path) -> None:
    with connect(tmp_path / "state") as store:
        assert (store.room, store.addresses, store.is_running) == ("agents", (), True)
        store.set("k", "kept")
    with connect(str(tmp_path / "state"), node_id="second") as store:
        assert store.get("k") == "kept"
        assert store.label == "second"


def test_a_directory_is_opened_under_the_room_it_has(tmp_path: Path) -> None:
    AgentStateStore("elsewhere", port=None, path=tmp_path).close()
    with connect(tmp_path) as store:
        assert store.room == "elsewhere"
    with pytest.raises(StoreError, match="holds the room 'elsewhere', not 'agents'; rooms never merge"):
        connect(tmp_path, room="agents").__enter__()
    with connect(tmp_path / "new", room="mine") as store:
        assert store.room == "mine"


def test_memory_is_a_store_of_its_own(tmp_path: Path) -> None:
    with connect("memory://") as one, connect("memory://", room="r") as other:
        one.set("k", 1)
        assert (one.room, other.room) == ("agents", "r")
        assert "k" not in other
    assert list(tmp_path.iterdir()) == []


def test_what_wrap_makes_of_the_store_is_what_the_block_gets() -> None:
    with connect("memory://", lambda store: {"wrapped": store}) as made:
        assert made["wrapped"].is_running
    assert not made["wrapped"].is_running


def test_in_an_event_loop_the_store_runs_there() -> None:
    async def scenario() -> None:
        async with connect("memory://", lambda store: [store]) as made:
            assert made[0].is_running
            with pytest.raises(LocalProtocolError, match="flush_blocking"):
                made[0].flush_blocking()
        assert not made[0].is_running

    run(scenario)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_processes_that_name_one_directory_share_it(tmp_path: Path) -> None:
    with Nursery() as nursery, connect(tmp_path) as store, nursery.processes(1, OTHER, str(tmp_path)) as (other,):
        assert other.hear() == "agents"
        store.set("here", 1)
        assert other.ask("store.set('there', 2)") == "None"
        wait_until(lambda: store.get("there") == 2)
        deadline = time.monotonic() + 20
        while other.ask("store.get('here')") != "1":
            assert time.monotonic() < deadline
        other.tell()
        assert other.hear() == "closed"


def test_a_room_of_several_machines_replicates_without_an_event_loop_of_the_caller(tmp_path: Path) -> None:
    """The store is started in the background: what is written on one is on the other without any call."""
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    listening = loopback("listens")
    listening.start_background()
    host, port = address(listening)
    line = f"propagul://{ROOM}@{host}:{port}?secret_file={tmp_path}/secret.txt&path={tmp_path}/state"
    with connect(line, config=FAST) as store:
        assert store.linked() == {listening.node}
        assert store.addresses == ()
        store.set("from", "here")
        wait_until(lambda: listening.get("from") == "here")
        store.flush_blocking(peers=1)
        listening.set("from", "there")
        wait_until(lambda: store.get("from") == "there")
    listening.close()
    with connect(tmp_path / "state") as store:
        assert store.get("from") == "there"


def test_a_store_may_listen_and_name_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "secret").write_text(SECRET)
        line = f"propagul://{ROOM.replace('-', '%2D')}@?listen=0&secret_file={tmp_path}/secret"
        async with connect(line, host="127.0.0.1", config=FAST) as store:
            assert store.room == ROOM
            other = loopback("dials")
            await other.start(peers=[address(store)])
            store.set("k", 1)
            await until(lambda: other.get("k") == 1)
            await other.stop()

    run(scenario)


def test_a_room_named_twice_must_be_one(tmp_path: Path) -> None:
    with connect("propagul://one@127.0.0.1:1?listen=0", room="one") as store:
        assert store.room == "one"
    with pytest.raises(ValueError, match="names the room 'one' and `room` says 'two'"):
        connect("propagul://one@127.0.0.1:1", room="two")
    with connect(f"propagul://127.0.0.1:1,[::1]:2?path={tmp_path}") as store:
        assert store.room == "agents"
        assert [tuple(peer) for peer in store._peers] == [("127.0.0.1", 1), ("::1", 2)]


# Ends.


def test_a_block_that_fails_and_a_wrap_that_fails_close_the_store(tmp_path: Path) -> None:
    def fail(_: AgentStateStore) -> None:
        raise KeyError("wrap")

    with pytest.raises(KeyError, match="wrap"):
        connect(tmp_path, fail).__enter__()
    with pytest.raises(KeyError, match="block"), connect(tmp_path, alone=True):
        raise KeyError("block")
    assert not [thread for thread in threading.enumerate() if thread.name == "propagul-agents"]
    with connect(tmp_path, alone=True) as store:  # nobody holds it
        assert store.is_running


def test_a_connection_is_opened_once_at_a_time_and_as_often_as_one_likes(tmp_path: Path) -> None:
    connection = connect(tmp_path)
    with connection as store:
        store.set("k", 1)
        with pytest.raises(LocalProtocolError, match="open already"):
            connection.__enter__()
        assert store.is_running
    with connection as store:
        assert store.get("k") == 1


# What is refused.


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "an empty line names no store"),
        ("redis://localhost", "'redis' is no kind of store"),
        ("memory://room", "'memory' is no kind of store"),
        ("propagul://", "no address to dial and no port to listen on"),
        ("propagul://room@", "no address to dial and no port to listen on"),
        ("propagul://@h:1", "there is no room before the @"),
        ("propagul://room@host", "an address is host:port"),
        ("propagul://room@:9000", "an address is host:port"),
        ("propagul://room@h:1/path", "an address is host:port"),
        ("propagul://room@h:1,", "an address is host:port"),
        ("propagul://room@fd00::1:9000", "stands in brackets"),
        ("propagul://room@h:0", "the port of an address is a number up to 65535"),
        ("propagul://room@h:65536", "the port of an address is a number up to 65535"),
        ("propagul://room@h:1?listen=x", "the port of listen is a number up to 65535"),
        ("propagul://room@h:1?path=", "path must be given once and not be empty"),
        ("propagul://room@h:1?path=a&path=b", "path must be given once and not be empty"),
        ("propagul://room@h:1?replicas=2", "'replicas' after the ? is not known; there may be secret_file, path"),
        ("propagul://room:hunter2@h:1", "a password may not stand in the line; put it in a file"),
        ("propagul://room@hunter2@h:1", "a password may not stand in the line; put it in a file"),
        ("propagul://room@h:1?secret=hunter2", "a secret may not stand in the line; put it in a file"),
        ("propagul://room@h:1?Password=hunter2", "a secret may not stand in the line; put it in a file"),
        ("propagul://room@h:1?hunter2", "one of the names after the ? is not known"),
        ("propagul://room@h:hunter2", "the port of an address is a number up to 65535"),
        ("hunter2://x", "is no kind of store"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line_with_an_example(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        connect(line)
    said = str(refused.value)
    assert why in said
    assert "propagul://my-room@" in said
    assert "hunter2" not in said or line.startswith("hunter2://")


def test_a_secret_file_that_gives_no_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, why in (("none", "No such file"), ("empty", "is empty"), ("binary", "it is not text")):
        with pytest.raises(ValueError, match=why):
            connect(f"propagul://r@h:1?secret_file={tmp_path}/{name}").__enter__()


def test_an_option_that_the_line_answers_or_nobody_knows_is_refused() -> None:
    for option in ("port", "peers", "nonsense"):
        with pytest.raises(TypeError, match=option):
            connect("memory://", **{option: 1}).__enter__()  # type: ignore[call-overload]  # what a user might try


def test_the_package_offers_it() -> None:
    assert propagul.connect is connect
    assert isinstance(connect("memory://"), propagul.Connection)
