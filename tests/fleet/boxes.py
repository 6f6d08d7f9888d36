"""Real fleet nodes for tests: `propagul fleet up` in processes of their own, asked from outside as a user would."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.engines import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

START_S_MAX = 60.0


@dataclass(slots=True)
class Box:
    """A running node."""

    name: str
    data_dir: Path
    process: subprocess.Popen[str]
    log: Path
    arguments: list[str] = field(default_factory=list)

    @property
    def printed(self) -> str:
        return self.log.read_text()

    @property
    def port(self) -> int:
        found = re.search(r"Dashboard +http://127\.0\.0\.1:(\d+)", self.printed)
        assert found, self.printed
        return int(found[1])

    @property
    def listen(self) -> tuple[str, int]:
        host, _, port = json.loads((self.data_dir / "node.json").read_text())["listen"].rpartition(":")
        return host, int(port)

    @property
    def token(self) -> str:
        found = re.search(r"propagul1[\w-]+", self.printed)
        assert found, self.printed
        return found[0]

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request to the gateway port: status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, payload, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def models(self) -> dict[str, list[str]]:
        """Each model of `/v1/models` with the names of the nodes that have it."""
        listed = json.loads(self.request("GET", "/v1/models")[2])["data"]
        return {model["id"]: model["propagul"]["nodes"] for model in listed}

    def chat(self, model: str, **options: object) -> tuple[int, dict[str, str], bytes]:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 32, **options}
        return self.request("POST", "/v1/chat/completions", body)

    def status(self) -> dict[str, Any]:
        """What `propagul fleet status --json` prints."""
        done = propagul("fleet", "status", "--json", "--data-dir", str(self.data_dir))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def nodes(self) -> list[dict[str, Any]]:
        """Every node as this one sees it, over the admin API."""
        token = (self.data_dir / "admin.token").read_text()
        answer = json.loads(self.request("GET", "/admin/status", headers={"Authorization": f"Bearer {token}"})[2])
        nodes: list[dict[str, Any]] = answer["nodes"]
        return nodes

    def node(self, name: str) -> dict[str, Any]:
        """One of them; nothing if there is none of that name."""
        return next((node for node in self.nodes() if node["name"] == name), {})

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """As an operator would; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def propagul(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "fleet_app", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


@contextlib.contextmanager
def node(
    name: str,
    data_dir: Path,
    *arguments: str,
    join: str | None = None,
    listen: str = "127.0.0.1:0",
    within: Sequence[str] = (),
    mdns: bool = False,
) -> Iterator[Box]:
    """Run a node until the block ends; returns when it has said that it is up.

    `within` is the command that runs another one in a network namespace.
    """
    log = data_dir.parent / f"{name}-{time.monotonic_ns()}.log"
    command = [*within, sys.executable, "-m", "fleet_app", "fleet", "up", "--name", name, "--data-dir", str(data_dir)]
    command += [
        "--listen",
        listen,
        "--gateway",
        "127.0.0.1:0",
        "--no-detect",
        *(() if mdns else ("--no-mdns",)),
        "-v",
        *(("--join", "-") if join else ()),
        *arguments,
    ]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        ) as process,
    ):
        box = Box(name, data_dir, process, log, list(arguments))
        try:
            assert process.stdin is not None
            process.stdin.write(f"{join}\n" if join else "")
            process.stdin.close()
            wait_for(lambda: "Ctrl-C stops" in box.printed or process.poll() is not None, START_S_MAX)
            assert process.poll() is None, box.printed
            yield box
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def wait_for(condition: Callable[[], object], limit_s: float) -> float:
    """Wait until the condition holds; return how long it took.

    Raises:
        AssertionError: It did not within `limit_s`.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit_s, f"not so after {limit_s} s"
        time.sleep(0.05)
    return time.monotonic() - started
