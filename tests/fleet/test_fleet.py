"""First light, end to end: real nodes, real llama.cpp at both ends, real crashes."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from itertools import product
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore
from propagul.link import Identity
from tests.engines import llama_server
from tests.fleet.boxes import node, propagul, wait_for

if TYPE_CHECKING:
    from pathlib import Path

WORDS_A, WORDS_B = "alpha says this from the first box", "bravo tells that on its second machine"
CANARY = "canary-prompt-4711"

pytestmark = pytest.mark.engine


def streamed(body: bytes) -> str:
    """The text of an OpenAI stream that ended properly."""
    events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices).strip()


def test_two_boxes_form_one_fleet_and_a_chat_for_bs_model_streams_through_a(tmp_path: Path) -> None:
    with (
        llama_server("alpha", WORDS_A) as engine_a,
        llama_server("bravo", WORDS_B) as engine_b,
        node("a", tmp_path / "a", "--backend", engine_a.url) as a,
    ):
        with node("b", tmp_path / "b", "--backend", engine_b.url, join=a.token) as b:
            wait_for(lambda: a.node("b").get("state") == "up", 20)
            wait_for(lambda: a.models() == b.models() == {"alpha": ["a"], "bravo": ["b"]}, 20)
            for box in (a, b):
                for model, words in (("alpha", WORDS_A), ("bravo", WORDS_B)):
                    plain = box.chat(model)
                    assert plain[0] == 200
                    assert json.loads(plain[2])["choices"][0]["message"]["content"].strip() == words
                    streaming = box.chat(model, stream=True)
                    assert streaming[1]["content-type"].startswith("text/event-stream")
                    assert streamed(streaming[2]) == words
            assert a.chat("bravo")[1]["x-propagul-node"] == "b"
            status = a.status()
            assert [(n["name"], n["state"], n["reach"]) for n in status["nodes"]] == [
                ("a", "up", "here"),
                ("b", "up", "linked"),
            ]
            assert status["models"] == {"alpha": ["a"], "bravo": ["b"]}
            assert b.stop() == 0
            wait_for(lambda: a.node("b")["state"] == "down", 3)
            assert a.models() == {"alpha": ["a"]}


def test_a_node_killed_in_mid_stream_cuts_the_stream_leaves_the_lists_and_comes_back_with_its_state(
    tmp_path: Path,
) -> None:
    with (
        llama_server("slow", "one two three four five six", slow=True) as engine,
        node("a", tmp_path / "a") as a,
        node("b", tmp_path / "b", "--backend", engine.url, join=a.token) as b,
    ):
        wait_for(lambda: "slow" in a.models(), 20)
        connection = http.client.HTTPConnection("127.0.0.1", a.port, timeout=15)
        body = {"model": "slow", "stream": True, "max_tokens": 900, "messages": [{"role": "user", "content": "go"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.read(64)
        b.kill()
        killed = time.monotonic()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        connection.close()
        assert time.monotonic() - killed < 5
        wait_for(lambda: a.node("b")["state"] == "down", 20)
        assert a.models() == {}
        gone = a.chat("slow")
        assert gone[0] in (404, 503)
        restarted = time.monotonic()
        with node("b", tmp_path / "b", "--backend", engine.url) as again:
            wait_for(lambda: a.node("b")["state"] == "up" and "slow" in a.models(), 20)
            print(f"back after {time.monotonic() - restarted:.1f} s")
            assert {n["name"] for n in again.status()["nodes"]} == {"a", "b"}
            assert again.chat("slow", max_tokens=4)[0] == 200


def test_prompts_and_keys_reach_no_log_and_no_file(tmp_path: Path) -> None:
    with (
        llama_server("alpha", WORDS_A) as engine,
        node("a", tmp_path / "a") as a,
        node("b", tmp_path / "b", "--backend", engine.url, "-vv", join=a.token) as b,
    ):
        wait_for(lambda: "alpha" in a.models(), 20)
        message = [{"role": "user", "content": CANARY}]
        body = {"model": "alpha", "messages": message, "max_tokens": 4}
        for path in ("/v1/chat/completions", f"/v1/chat/completions?q={CANARY}", f"/v1/{CANARY}"):
            a.request("POST", path, body, {"Authorization": f"Bearer {CANARY}"})
        a.request("POST", "/v1/chat/completions", f"not json {CANARY}".encode())
        token = a.token.removeprefix("propagul1")
        secret = (tmp_path / "a" / "room-secret").read_text().strip()
        b.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        assert CANARY.encode() not in content, file
        assert (secret.encode() in content) == (file.name == "room-secret"), file
        assert (token.encode() in content) == file.name.startswith("a-"), file  # what a printed for its owner


def test_an_invite_lets_one_box_in_once_and_the_secret_stays_where_it_was(tmp_path: Path) -> None:
    with node("a", tmp_path / "a") as a, node("b", tmp_path / "b", join=a.token) as b:
        assert not (tmp_path / "b" / "room-secret").exists()
        again = propagul(
            "fleet", "up", "--data-dir", str(tmp_path / "c"), "--listen", "127.0.0.1:0", "--join", "-", stdin=a.token
        )
        assert again.returncode == 2
        assert "has been used" in again.stderr
        made = propagul("fleet", "invite", "--data-dir", str(b.data_dir))
        assert made.returncode == 1
        assert "holds the room's secret" in made.stderr


def test_a_box_alone_in_its_fleet_joins_another_and_keeps_what_it_had(tmp_path: Path) -> None:
    with node("b", tmp_path / "b") as lonely:
        assert lonely.stop() == 0
    former = (tmp_path / "b" / "room-secret").read_text()
    with node("a", tmp_path / "a") as a, node("b", tmp_path / "b", join=a.token):
        wait_for(lambda: a.node("b").get("state") == "up", 20)
        assert (tmp_path / "b" / "former" / "1" / "room-secret").read_text() == former
        assert (tmp_path / "b" / "former" / "1" / "state" / "log").is_dir()


@pytest.mark.long
def test_a_box_with_company_joins_no_other_fleet(tmp_path: Path) -> None:
    with node("a", tmp_path / "a") as a, node("b", tmp_path / "b", join=a.token) as b:
        wait_for(lambda: a.node("b").get("state") == "up", 20)
        assert b.stop() == 0
    with node("c", tmp_path / "c") as c:
        words = ("fleet", "up", "--data-dir", str(tmp_path / "b"), "--listen", "127.0.0.1:0", "--join", "-")
        refused = propagul(*words, stdin=c.token)
        assert refused.returncode == 2
        assert "fleets never merge" in refused.stderr
        assert not (tmp_path / "b" / "former").exists()


def test_a_directory_of_one_fleet_is_not_opened_with_the_secret_of_another(tmp_path: Path) -> None:
    with node("a", tmp_path / "a"):
        pass
    secret = tmp_path / "other-secret"
    secret.write_text("a secret that nobody here knows 42\n")
    secret.chmod(0o600)
    words = ("fleet", "up", "--data-dir", str(tmp_path / "a"), "--listen", "127.0.0.1:0", "--secret-file", str(secret))
    refused = propagul(*words)
    assert refused.returncode == 2
    assert "fleets never merge" in refused.stderr
    with node("a", tmp_path / "a"):
        pass


def test_a_node_of_another_fleet_is_refused_counted_and_said_once(tmp_path: Path) -> None:
    secret = tmp_path / "other-secret"
    secret.write_text("a secret that nobody here knows 42\n")
    secret.chmod(0o600)
    with node("a", tmp_path / "a") as a:
        host, port = a.listen
        with node("x", tmp_path / "x", "--secret-file", str(secret)) as stranger:
            script = (
                "import asyncio, sys; from propagul import AgentStateStore\n"
                "async def main():\n"
                "    s = AgentStateStore('fleet', port=None, secret='a secret that nobody here knows 42')\n"
                f"    r = await s.start(peers=[({host!r}, {port})]); print(r.peers[0].trouble); await s.stop()\n"
                "asyncio.run(main())"
            )
            done = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
            )
            assert "another room or another secret" in done.stdout
            assert [n["name"] for n in stranger.status()["nodes"]] == ["x"]
        status = a.status()
        assert [n["name"] for n in status["nodes"]] == ["a"]
        said = [notice for notice in status["notices"] if "another room or another secret" in notice]
        assert len(said) == 1
        assert "127.0.0.1" in said[0]


def test_a_member_cannot_speak_for_another_box(tmp_path: Path) -> None:
    """Not for one that is there, not for one that is not, and it takes none away; here by a program with the secret."""
    nobody = Identity.generate().node

    async def intrude(secret: str, listen: tuple[str, int], box: str) -> None:
        store = AgentStateStore("fleet", "intruder", None, secret=secret, owned=("nodes/",))
        await store.start(peers=[listen], require_peers=1)
        for name in ("", "presence"):  # a program that keeps to no rule
            store._spaces[name].minting.sealed, store._spaces[name].put_plain = None, lambda *_: False
        assert f"nodes/{box}" in store
        store.delete(f"nodes/{box}")
        for node_id in (box, nobody):
            store.presence.set(f"nodes/{node_id}", store.presence.get_all("nodes/")[f"nodes/{box}"].value)
            store.set(f"nodes/{node_id}", {"name": "taken over", "version": "9", "addresses": []})
        await store.flush(peers=1)
        await store.stop()

    with node("a", tmp_path / "a") as a:
        box = a.node("a")["id"]
        asyncio.run(intrude((tmp_path / "a" / "room-secret").read_text().strip(), a.listen, box))
        assert [(n["id"], n["name"]) for n in a.status()["nodes"]] == [(box, "a")]
        assert a.stop() == 0
    shown = propagul("state", "list", "--json", "--path", str(tmp_path / "a" / "state"))
    assert "taken over" not in shown.stdout
    assert box in shown.stdout


def test_garbage_slow_loris_and_oversize_on_the_link_port_disturb_nobody(tmp_path: Path) -> None:
    with node("a", tmp_path / "a") as a, node("b", tmp_path / "b", join=a.token):
        rude = [socket.create_connection(a.listen, timeout=15) for _ in range(40)]
        for number, caller in enumerate(rude):
            caller.sendall([b"GET / HTTP/1.0\r\n\r\n", b"\x00", b"\xff" * 8192, b"\x16\x03\x01\xff\xff"][number % 4])
        for caller in rude:
            with contextlib.suppress(ConnectionResetError):
                while caller.recv(4096):
                    pass
            caller.close()
        wait_for(lambda: a.node("b")["state"] == "up", 20)
        assert a.node("b")["reach"] == "linked"


def test_web_pages_and_foreign_hosts_are_refused(tmp_path: Path) -> None:
    foreign = [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "203.0.113.9"},
    ]
    routes = [("GET", "/"), ("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/events")]
    with node("a", tmp_path / "a") as a:
        for headers, (method, path) in product(foreign, [*routes, ("POST", "/admin/invite")]):
            status = a.request(method, path, {} if method == "POST" else None, headers)[0]
            assert status == 403, (headers, method, path)


@pytest.mark.long
def test_what_is_in_the_way_is_said_in_one_line_with_exit_code_2(tmp_path: Path) -> None:
    def complaint(*words: str) -> str:
        done = propagul("fleet", "up", "--no-detect", "--no-mdns", *words)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    with node("a", tmp_path / "a") as a, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fresh = ("--data-dir", str(tmp_path / "fresh"))
        assert str(a.process.pid) in complaint("--data-dir", str(a.data_dir), "--listen", "127.0.0.1:0")
        assert str(port) in complaint(*fresh, "--listen", f"127.0.0.1:{port}")
        assert f"127.0.0.1:{port}" in complaint(*fresh, "--listen", "127.0.0.1:0", "--gateway", f"127.0.0.1:{port}")
        assert "ssh -L" in complaint(*fresh, "--gateway", "0.0.0.0:8787")
        assert "did you mean" in complaint(*fresh, "--config", str(_typo(tmp_path)))


def _typo(folder: Path) -> Path:
    path = folder / "node.yaml"
    path.write_text("gatway: 127.0.0.1:8787\n")
    return path


def test_a_second_signal_ends_at_once_and_leaves_no_child(tmp_path: Path) -> None:
    with (
        llama_server("slow", "one two three four", slow=True) as engine,
        node("a", tmp_path / "a", "--backend", engine.url) as a,
    ):
        connection = http.client.HTTPConnection("127.0.0.1", a.port, timeout=15)
        body = {"model": "slow", "stream": True, "max_tokens": 900, "messages": [{"role": "user", "content": "go"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        assert connection.getresponse().read(16)
        a.process.terminate()
        wait_for(lambda: a.node("a") == {} or a.node("a")["state"] == "draining", 20)
        started = time.monotonic()
        a.process.terminate()
        assert a.process.wait(20) == 1
        assert time.monotonic() - started < 5  # a drain takes ten
        connection.close()
