"""Three boxes on one machine: three fleet nodes, each beside its own real llama.cpp server with a tiny model.

    python -m demo.run            start, print where everything is, run until Ctrl-C
    python -m demo.run --check    start, chat with every model through every node, stop; exit 0 if all answered rightly

The models are written on the spot and say only the words they were given, so an answer tells which model gave it.
Everything listens on loopback and lives in a temporary directory.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from demo.tiny_model import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
BOXES = {
    "alpha": "alpha here on the first box ready",
    "bravo": "bravo answering from the second machine now",
    "charlie": "charlie speaking for box number three today",
}
START_S_MAX = 90.0


class DemoError(Exception):
    """Something did not start or answered wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One node and its engine."""

    name: str
    data_dir: Path
    gateway_port: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="chat with every model through every node and stop")
    check = parser.parse_args().check
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="propagul-demo-") as folder, contextlib.ExitStack() as stack:
            boxes = start_boxes(Path(folder), stack)
            if check:
                return check_fleet(boxes)
            print(introduction(boxes), flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("\neverything stopped", flush=True)
    except DemoError as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    return 0


def start_boxes(folder: Path, stack: contextlib.ExitStack) -> list[Box]:
    """Start engines and nodes, the first node founding the fleet and inviting the others."""
    engines = {}
    for name, words in BOXES.items():
        print(f"starting llama.cpp with the model {name} ...", flush=True)
        engines[name] = start_engine(folder, name, words, stack)
    boxes: list[Box] = []
    for name, engine in engines.items():
        print(f"starting the node {name} ...", flush=True)
        token = invite(boxes[0]) if boxes else None
        boxes.append(start_node(folder, name, engine, token, stack))
    wait_for("all three models in every node's list", lambda: all(models(box) == set(BOXES) for box in boxes))
    return boxes


def start_engine(folder: Path, name: str, words: str, stack: contextlib.ExitStack) -> str:
    """Write a model, serve it, return the server's URL."""
    model = folder / f"{name}.gguf"
    write_tiny_model(model, name=name, words=words)
    command = [sys.executable, str(HERE / "llama_server.py"), "-m", str(model), "--port", "0", "--alias", name]
    lines = stack.enter_context(running(f"the engine {name}", command, folder / f"{name}-engine.log"))
    return next(line.split()[1] for line in lines if line.startswith("LISTENING "))


def start_node(folder: Path, name: str, engine: str, token: str | None, stack: contextlib.ExitStack) -> Box:
    """Start a node and wait until it has said where its dashboard is."""
    data_dir = folder / name
    command = [
        *(sys.executable, "-m", "fleet_app", "fleet", "up", "--name", name, "--data-dir", str(data_dir)),
        *("--listen", "127.0.0.1:0", "--no-detect", "--no-mdns", "--backend", engine),
        *(("--join", "-") if token else ()),
    ]
    node = running(f"the node {name}", command, folder / f"{name}-node.log", stdin=token)
    lines = stack.enter_context(node)
    address = next(line.split()[1] for line in lines if line.startswith("Dashboard"))
    return Box(name=name, data_dir=data_dir, gateway_port=int(address.rpartition(":")[2]))


def invite(box: Box) -> str:
    """Ask a node for an invite, as its owner would."""
    command = [sys.executable, "-m", "fleet_app", "fleet", "invite", "--data-dir", str(box.data_dir)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=START_S_MAX).stdout
    return next(word for word in printed.split() if word.startswith("propagul1"))


@contextlib.contextmanager
def running(what: str, command: list[str], log: Path, stdin: str | None = None) -> Iterator[Iterator[str]]:
    """Run a process in a session of its own, so that Ctrl-C reaches this program alone; yield its lines so far on.

    Ends it with SIGTERM and waits: a node drains and says goodbye.
    """
    with log.open("w+") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            assert process.stdin is not None
            process.stdin.write(f"{stdin}\n" if stdin else "")
            process.stdin.close()
            with log.open() as reader:
                yield _lines(what, process, reader)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _lines(what: str, process: subprocess.Popen[str], reader: TextIO) -> Iterator[str]:
    """Lines as they are written; fails when the process ends or stays silent too long."""
    deadline = time.monotonic() + START_S_MAX
    seen = []
    while time.monotonic() < deadline:
        line = reader.readline()
        if line:
            seen.append(line)
            yield line
        elif process.poll() is not None:
            raise DemoError(f"{what} ended with {process.returncode}:\n" + "".join(seen))
        else:
            time.sleep(0.05)
    raise DemoError(f"{what} was not ready after {START_S_MAX:.0f} s:\n" + "".join(seen))


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + START_S_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {START_S_MAX:.0f} s for {what}")
        time.sleep(0.1)


def models(box: Box) -> set[str]:
    """The models a node lists."""
    return {model["id"] for model in json.loads(ask(box, "GET", "/v1/models"))["data"]}


def ask(box: Box, method: str, path: str, body: dict[str, object] | None = None) -> bytes:
    """One request to a node's gateway."""
    connection = http.client.HTTPConnection("127.0.0.1", box.gateway_port, timeout=60)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise DemoError(f"{method} {path} at {box.name}: {response.status} {content[:300]!r}")
        return content
    finally:
        connection.close()


def chat(box: Box, model: str, *, stream: bool) -> str:
    """What a model says through a node."""
    message = {"role": "user", "content": "Who are you?"}
    body = {"model": model, "messages": [message], "stream": stream, "max_tokens": 32}
    answer = ask(box, "POST", "/v1/chat/completions", body)
    if not stream:
        return str(json.loads(answer)["choices"][0]["message"]["content"]).strip()
    events = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: ")]
    if events[-1] != "[DONE]":
        raise DemoError(f"the stream of {model} through {box.name} did not end with [DONE]")
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices).strip()


def check_fleet(boxes: list[Box]) -> int:
    """Every model through every node, plain and streamed; then the printed lines themselves."""
    for box in boxes:
        for model, words in BOXES.items():
            for stream in (False, True):
                said = chat(box, model, stream=stream)
                verdict = "ok" if said == words else f"WRONG, expected {words!r}"
                print(f"{box.name:8} {model:8} {'streamed' if stream else 'plain':9} {said!r} {verdict}", flush=True)
                if said != words:
                    return 1
    for name, command in (
        ("curl", curl_line(boxes[0])),
        ("openai", f"{sys.executable} - <<'END'\n{snippet(boxes[0])}\nEND"),
    ):
        printed = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, timeout=60)
        right = BOXES["bravo"] in printed.stdout
        print(f"{'as printed':18}{name:9} {'ok' if right else 'WRONG: ' + printed.stdout + printed.stderr}", flush=True)
        if not right:
            return 1
    print(f"{2 * len(boxes) * len(BOXES) + 2} passed, 0 failed")
    return 0


def curl_line(box: Box) -> str:
    """A command that works as printed."""
    body = '{"model": "bravo", "messages": [{"role": "user", "content": "hi"}]}'
    url = f"http://127.0.0.1:{box.gateway_port}/v1/chat/completions"
    return f"curl -s {url} -H 'Content-Type: application/json' -d '{body}'"


def snippet(box: Box) -> str:
    """A Python program that works as printed."""
    return f"""from openai import OpenAI
client = OpenAI(base_url="http://127.0.0.1:{box.gateway_port}/v1", api_key="not needed")
answer = client.chat.completions.create(model="bravo", messages=[{{"role": "user", "content": "hi"}}])
print(answer.choices[0].message.content)"""


def introduction(boxes: list[Box]) -> str:
    """What to try."""
    dashboards = "\n".join(f"  {box.name:8} http://127.0.0.1:{box.gateway_port}" for box in boxes)
    return f"""
Three nodes, one fleet. Dashboards:
{dashboards}

Ask the second box's model through the first box:

{curl_line(boxes[0])}

The same with the openai package ({sys.executable} has it):

{snippet(boxes[0])}

Ctrl-C stops everything.
"""


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
