"""Engines for tests: real llama.cpp servers with models that say chosen words, and replays of recorded exchanges.

`llama_server()` starts the real thing in a process of its own and always ends it: the process also watches its
standard input, so it goes when the test run goes, however that ends. `ReplayServer` answers exactly what the files
under `tests/fixtures/` hold (each file says whether it was captured or derived), and for any other path what that
engine answers to an unknown one.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aiohttp import web

from demo.tiny_model import CHAT_TEMPLATE, SLOW, TOOL_TEMPLATE, Shape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
START_TIMEOUT_S = 30.0


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- real llama.cpp servers -------------------------------------------------------------------------------------


@functools.cache
def _model_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="propagul-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def model_file(
    name: str = "alpha",
    words: str | tuple[str, ...] = "alpha box speaking one two three",
    *,
    loop: bool = False,
    slow: bool = False,
    pooled: bool = False,
    tools: bool = False,
) -> Path:
    """A model file of this shape, written once a test run. `tools` gives it a template with tool calls."""
    path = _model_folder() / f"{abs(hash((name, words, loop, slow, pooled, tools)))}-{name.replace('/', '_')}.gguf"
    shape = SLOW if slow else Shape()
    template = TOOL_TEMPLATE if tools else CHAT_TEMPLATE
    write_tiny_model(path, name=name, words=words, loop=loop, shape=shape, pooled=pooled, template=template)
    return path


@dataclass(slots=True)
class LlamaServer:
    """A running server. `url` has no trailing slash and no `/v1`."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def wait_until_listening(self) -> None:
        """Return when the model is loaded; learn the port if it was 0.

        Raises:
            TimeoutError: The server said nothing for `START_TIMEOUT_S`.
            RuntimeError: The server ended.
        """
        timer = threading.Timer(START_TIMEOUT_S, self.process.kill)
        timer.start()
        started = time.monotonic()
        try:
            line = self.process.stdout.readline() if self.process.stdout else ""
        finally:
            timer.cancel()
        if line.startswith("LISTENING "):
            self.url = line.split()[1].rstrip("/")
        elif time.monotonic() - started >= START_TIMEOUT_S:
            raise TimeoutError(f"llama.cpp did not listen within {START_TIMEOUT_S} s")
        else:
            raise RuntimeError(f"llama.cpp ended with {self.process.wait(5)} before it listened")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """End it as an operator would (SIGTERM) and return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextmanager
def llama_server(
    name: str = "alpha",
    words: str | Sequence[str] = "alpha box speaking one two three",
    *,
    parallel: int = 2,
    slow: bool = False,
    loop: bool | None = None,
    api_key: str | None = None,
    port: int = 0,
    embeddings: bool = False,
    tools: bool = False,
    wait: bool = True,
    flags: Sequence[str] = (),
) -> Iterator[LlamaServer]:
    """Run a real llama.cpp server with one model called `name` that says `words`.

    Args:
        name: The model's name on the API.
        words: What it says; a sequence of token texts is taken literally.
        parallel: Slots; each has 1024 tokens of context.
        slow: A large model of about 20 tokens a second, which says its words for ever unless `loop` is False.
        loop: Say the words again and again until `max_tokens`; by default only when slow.
        api_key: Ask for this key.
        port: Where to listen; 0 picks a free port.
        embeddings: Serve embeddings (mean pooling).
        tools: Use a chat template with tool calls.
        wait: Return when the model is loaded; otherwise at once (answers are 503 for a moment).
        flags: Further flags of `demo/llama_server.py`.
    """
    repeat = slow if loop is None else loop
    chain = words if isinstance(words, str) else tuple(words)
    model = model_file(name, chain, loop=repeat, slow=slow, pooled=embeddings, tools=tools)
    port = port or (0 if wait else free_port())
    command = [sys.executable, str(ROOT / "demo" / "llama_server.py"), "--stop-at-eof"]
    command += ["--model", str(model), "--alias", name, "--port", str(port), "--parallel", str(parallel)]
    command += ["--ctx-size", str(1024 * parallel), "--metrics", *flags]
    command += ["--api-key", api_key] if api_key else []
    command += ["--embedding", "--pooling", "mean"] if embeddings else []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            engine = LlamaServer(f"http://127.0.0.1:{port}", process)
            if wait:
                engine.wait_until_listening()
            yield engine
        finally:
            process.kill()


@contextmanager
def llama_router(executable: str, models: Mapping[str, str], *, port: int = 0) -> Iterator[LlamaServer]:
    """Run the real `llama-server` at `executable` in router mode, over models that say these words."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="propagul-router-") as folder:
        for name, words in models.items():
            shutil.copy(model_file(name, words), Path(folder) / f"{name}.gguf")
        command = [executable, "--models-dir", folder, "--offline", "--port", str(port), "-c", "512", "-np", "1"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                _wait_for_port(port, process)
                yield LlamaServer(f"http://127.0.0.1:{port}", process)
            finally:
                process.terminate()  # it ends the servers of its models, too
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()


@contextmanager
def ollama_server(executable: str) -> Iterator[LlamaServer]:
    """Run the real Ollama at `executable`, with a folder and a port of its own and no model."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="propagul-ollama-") as home:
        own = {"HOME": home, "OLLAMA_MODELS": f"{home}/models", "OLLAMA_HOST": f"127.0.0.1:{port}"}
        with subprocess.Popen(
            [executable, "serve"],
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                _wait_for_port(port, process)
                yield LlamaServer(f"http://127.0.0.1:{port}", process)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # the servers of its models, too


def _wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it listened")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listened within {START_TIMEOUT_S} s")


# --- replays of recorded exchanges ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: what a recorded server said, or what a hostile one might."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    delay_s: float = 0.0

    @classmethod
    def of(cls, content: object, status: int = 200) -> Answer:
        """An answer with `content` as JSON."""
        return cls(json.dumps(content).encode(), status)

    def marked(self, header: str, value: str) -> Answer:
        """The same answer with one more header."""
        return replace(self, headers=(*self.headers, (header, value)))

    def delayed(self, delay_s: float) -> Answer:
        """The same answer, this much later."""
        return replace(self, delay_s=delay_s)


_HOP_HEADERS = {"connection", "content-length", "date", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded request and its answer. `path` includes the query."""

    method: str
    path: str
    answer: Answer

    @classmethod
    def load(cls, name: str) -> Exchange:
        """Read `tests/fixtures/<name>.json`, for example `ollama/tags`."""
        recorded = json.loads((FIXTURES / f"{name}.json").read_text())
        response = recorded["response"]
        headers = tuple((key, value) for key, value in response["headers"] if key.lower() not in _HOP_HEADERS)
        answer = Answer((response["body"] or "").encode(), response["status"], headers)
        return cls(recorded["request"]["method"], recorded["request"]["path"], answer)


ENGINES: dict[str, tuple[str, ...]] = {
    "llamacpp": ("llamacpp/get_v1_models", "llamacpp/get_props", "llamacpp/get_health", "llamacpp/get_metrics"),
    "llamacpp_loading": ("llamacpp/loading_v1_models", "llamacpp/loading_props"),
    "llamacpp_key": ("llamacpp/key_noauth_v1_models", "llamacpp/key_noauth_props", "llamacpp/key_noauth_health"),
    "llamacpp_sleeping": ("llamacpp_server/sleep_models", "llamacpp_server/sleep_props"),
    "llamacpp_router": ("llamacpp_router/v1_models_loaded", "llamacpp_router/props"),
    "vllm": ("vllm/get_v1_models", "vllm/get_version", "vllm/get_metrics", "vllm/get_openapi_json", "vllm/get_root"),
    "ollama": ("ollama/version", "ollama/root", "ollama/tags", "ollama/ps", "ollama/v1_models"),
    "tgi": ("tgi/info", "tgi/health", "tgi/metrics", "tgi/v1_models"),
    "lmstudio": ("lmstudio/v1_models_native", "lmstudio/v0_models", "lmstudio/openai_models"),
    "lmstudio_old": ("lmstudio/v0_models", "lmstudio/openai_models"),
}
"""The exchanges that make one engine recognisable, by the name given to `ReplayServer.of`."""

_TEXT = (("Content-Type", "text/plain"),)
_UNKNOWN: dict[str, Answer] = {
    "llamacpp": Exchange.load("llamacpp/err_404").answer,
    "vllm": Exchange.load("vllm/err_404").answer,
    "ollama": Answer(b"404 page not found", 404, _TEXT),
    "tgi": Answer(b"", 404, _TEXT),
}


@dataclass
class ReplayServer:
    """A server on a free loopback port, in a thread with its own loop; use it as a context manager.

    `answers` may be changed while it runs; `seen` lists every (method, path with query) asked, in order,
    and `authorizations` the header that came with each.
    """

    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    unknown: Answer | None = None
    port: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    @classmethod
    def of(cls, engine: str, *, port: int = 0) -> ReplayServer:
        """A replay of one engine of `ENGINES`."""
        server = cls.playing(*ENGINES[engine], port=port)
        server.unknown = _UNKNOWN.get(engine.partition("_")[0])
        return server

    @classmethod
    def playing(cls, *fixtures: str, port: int = 0) -> ReplayServer:
        """A replay of these files; LM Studio's answer 200 to unknown paths too."""
        exchanges = [Exchange.load(name) for name in fixtures]
        return cls({(exchange.method, exchange.path): exchange.answer for exchange in exchanges}, port=port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, answer: Answer) -> Self:
        """Answer GET `path` so from now on."""
        self.answers["GET", path] = answer
        return self

    def paths(self) -> list[str]:
        """The paths asked so far, in order."""
        return [path for _, path in self.seen]

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        self.seen.append((request.method, request.path_qs))
        self.authorizations.append(request.headers.get("Authorization"))
        answer = self.answers.get((request.method, request.path_qs)) or self._unknown(request)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), answer.delay_s)  # a delayed answer does not delay the end
        response = web.Response(body=answer.body, status=answer.status)
        response.headers.popall("Content-Type", None)
        for key, value in answer.headers:
            response.headers.add(key, value)
        return response

    def _unknown(self, request: web.BaseRequest) -> Answer:
        if self.unknown is not None:
            return self.unknown
        if ("GET", "/api/v0/models") in self.answers:
            return Answer.of({"error": f"Unexpected endpoint or method. ({request.method} {request.path})"})
        return Answer(b"404: Not Found", 404, _TEXT)

    def __enter__(self) -> Self:
        """Listen and serve.

        Raises:
            OSError: The port asked for is taken.
        """
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener, started)))
        self._thread.start()
        if not started.wait(10):
            raise TimeoutError("the replay server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        started.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()
