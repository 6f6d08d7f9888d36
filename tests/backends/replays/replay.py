"""An engine that is not the real one: it keeps state, and answers in the shapes of recorded exchanges.

A route names the file under `tests/fixtures/` that its answers are shaped after; the file says whether it was captured
or derived. A request without a route is answered with 599 and fails the test that made it. State lies in a folder, so
that a process may end at any moment and another one go on: the models, what came of interrupted pulls, every call.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import math
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Answerer = Callable[[Any, "Request"], Awaitable["Response"]]

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
UNCOVERED = 599
FOREIGN = frozenset(
    (
        *("/", "/v1/models", "/models", "/props", "/health", "/version", "/info", "/metrics", "/system"),
        *("/api/v1/models", "/api/v0/models", "/api/v1/health", "/api/extra/version", "/.well-known/serviceinfo"),
        *("/api/version", "/api/tags", "/api/ps", "/engines/v1/models", "/openapi.json"),
    )
)
"""What a stranger is asked to learn which engine it is. An engine that knows such a path has a route for it."""

_HOP_HEADERS = {"connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that an engine holds, or that can be pulled.

    Attributes:
        size: Bytes on the disk.
        abilities: As `fleet_app.presence` names them.
        context: Tokens at most.
        words: What it says.
    """

    size: int = 400_000
    abilities: tuple[str, ...] = ("chat",)
    context: int = 4096
    words: str = "one two three"

    def layers(self, name: str) -> dict[str, int]:
        """Digest and size of each layer: the weights and a small one."""
        small = min(1000, self.size // 10)
        sizes = {"weights": self.size - small, "template": small}
        return {hashlib.sha256(f"{name} {layer}".encode()).hexdigest(): size for layer, size in sizes.items()}


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {json.dumps(self.body)[:200]}"


@dataclass(slots=True)
class Response:
    """What is answered: JSON, text or chunks that come when they come."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    text: str | None = None
    chunks: AsyncIterator[bytes] | None = None


class Shape:
    """A recorded answer."""

    def __init__(self, name: str) -> None:
        recorded = json.loads((FIXTURES / f"{name}.json").read_text())
        self.source: str = recorded["source"]
        response = recorded["response"]
        self.status: int = response["status"]
        self.headers = {key: value for key, value in response["headers"] if key.lower() not in _HOP_HEADERS}
        self.content_type = next((v for k, v in response["headers"] if k.lower() == "content-type"), "text/plain")
        self.body: str = response["body"] or ""

    def json(self) -> Any:
        """The recorded body; yours to change."""
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        """The recorded lines of a stream."""
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]

    def response(self, content: Any = None, *, text: str | None = None, status: int | None = None) -> Response:
        """The same answer with other content; the recorded one when there is none."""
        headers = {**self.headers, "Content-Type": self.content_type}
        if content is None and text is None:
            text = self.body
        return Response(status or self.status, headers, json=content, text=text)

    def stream(self, chunks: AsyncIterator[bytes]) -> Response:
        """The same answer with other chunks."""
        return Response(self.status, {**self.headers, "Content-Type": self.content_type}, chunks=chunks)


def line(content: Any) -> bytes:
    """A line of newline-delimited JSON."""
    return json.dumps(content).encode() + b"\n"


def answers(method: str, path: str, *fixtures: str) -> Callable[[Answerer], Answerer]:
    """Mark a method as the answer to `method path`, shaped after `fixtures`; a `*` ends a path that goes on."""

    def mark(handler: Answerer) -> Answerer:
        handler.route = (method, path, fixtures)  # type: ignore[attr-defined]
        return handler

    return mark


class Gate:
    """Lets steps pass, all of them until it is held. From any thread."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._left: float = math.inf
        self._waiters: list[asyncio.Event] = []

    def hold(self) -> None:
        """Let nothing pass from now on."""
        self._left = 0

    def allow(self, steps: int = 1) -> None:
        """Let this many more pass."""
        self._left += steps
        self._replay.in_loop(self._wake)

    def open(self) -> None:
        """Let everything pass."""
        self._left = math.inf
        self._replay.in_loop(self._wake)

    async def passed(self) -> None:
        """Return when the next step may be taken."""
        while self._left < 1:
            event = asyncio.Event()
            self._waiters.append(event)
            await event.wait()
        self._left -= 1

    def _wake(self) -> None:
        for event in self._waiters:
            event.set()
        self._waiters.clear()


class Replay:
    """The engine; a context manager that listens on loopback in a thread of its own, and fails on what is uncovered.

    Attributes:
        models: What it holds, by name.
        library: What can be pulled, by name.
        loaded: What is in memory: name to how it was loaded.
        parts: Bytes of interrupted pulls, by digest.
        disk: Bytes that models and parts may take; None for no bound.
        memory: Bytes that loaded models may take; None for no bound.
        chunk_bytes: How much of a pull comes at a step.
        pace_s: Seconds between steps.
        fail_pull_at: The line of the next pull that is an error instead, from 1, and its words.
        hang: Paths that are not answered.
        pulls: Gate before each step of a pull.
        loads: Gate before a load.
        calls: Every request, in order.
        uncovered: Requests that no fixture covers.
    """

    kind: ClassVar[str]
    unknown: ClassVar[str]
    """The fixture of what a path it does not know is answered."""
    routes: ClassVar[dict[tuple[str, str], tuple[tuple[str, ...], Answerer]]]

    def __init__(
        self,
        models: Mapping[str, Weights] | None = None,
        library: Mapping[str, Weights] | None = None,
        *,
        folder: Path | None = None,
        port: int = 0,
        api_key: str | None = None,
        disk: int | None = None,
        memory: int | None = None,
    ) -> None:
        self.port, self.api_key, self.disk, self.memory = port, api_key, disk, memory
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"replay-{self.kind}-"))
        self.models: dict[str, Weights] = dict(models or {})
        self.library = dict(library or {"tiny": Weights()})
        self.loaded: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, int] = {}
        self.chunk_bytes, self.pace_s = 100_000, 0.0
        self.fail_pull_at: tuple[int, str] | None = None
        self.hang: set[str] = set()
        self.pulls, self.loads = Gate(self), Gate(self)
        self.calls: list[Request] = []
        self.uncovered: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recall()

    def __init_subclass__(cls) -> None:
        found = [handler for name in dir(cls) if hasattr(handler := getattr(cls, name), "route")]
        cls.routes = {handler.route[:2]: (handler.route[2], handler) for handler in found}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Request]:
        """The requests to `path`, in order."""
        return [call for call in self.calls if call.path == path]

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen; on the port of last time after a `stop`.

        Raises:
            OSError: The port is taken.
        """
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener, started)), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise TimeoutError("the replay did not start")

    def stop(self) -> None:
        """End at once, as a crash would: connections break, what was in memory is gone, what is on the disk stays."""
        if self._loop is not None:
            self.in_loop(self._stop.set)
            self._thread.join(10)
            self._loop = None
        self.loaded.clear()

    def restart(self) -> None:
        """Crash and start again."""
        self.stop()
        self.start()

    def in_loop(self, call: Callable[[], object]) -> None:
        """Call it in the server's thread, if that runs."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None:
            assert not self.uncovered, f"no fixture covers: {'; '.join(self.uncovered)}"

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.01, handler_cancellation=True)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        started.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()

    # --- state ---------------------------------------------------------------------------------------------------

    async def fetched(self, name: str) -> bool:
        """Pull a model step by step, whoever looks; whether all of it came."""
        total, line = self.library[name].size, 0
        while self.parts.get(name, 0) < total:
            await self.pulls.passed()
            await asyncio.sleep(self.pace_s)
            line += 1
            step = min(self.chunk_bytes, total - self.parts.get(name, 0))
            failed = self.fail_pull_at is not None and line >= self.fail_pull_at[0]
            if failed or (self.disk is not None and self.used() + step > self.disk):
                self.fail_pull_at = None
                return False
            self.parts[name] = self.parts.get(name, 0) + step
            self.save()
        self.parts.pop(name)
        self.models[name] = self.library[name]
        self.save()
        return True

    def save(self) -> None:
        """Keep models and parts in the folder."""
        kept = {"models": {name: asdict(held) for name, held in self.models.items()}, "parts": self.parts}
        path = self.folder / "state.json"
        path.with_suffix(".new").write_text(json.dumps(kept))
        path.with_suffix(".new").replace(path)

    def _recall(self) -> None:
        path = self.folder / "state.json"
        if path.exists():
            kept = json.loads(path.read_text())
            self.parts = kept["parts"]
            self.models = {
                name: Weights(**{**held, "abilities": tuple(held["abilities"])})
                for name, held in kept["models"].items()
            }

    def used(self) -> int:
        """Bytes that models and parts take on the disk."""
        return sum(held.size for held in self.models.values()) + sum(self.parts.values())

    def fits_in_memory(self, name: str) -> bool:
        """Whether this model has room beside the loaded ones."""
        others = sum(self.models[held].size for held in self.loaded if held != name)
        return self.memory is None or others + self.models[name].size <= self.memory

    # --- answering -----------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        asked = Request(request.method, request.path, dict(request.query), _object(body))
        self.calls.append(asked)
        with (self.folder / "calls.ndjson").open("ab") as file:
            file.write(line({"method": asked.method, "path": request.path_qs, "body": asked.body}))
        if asked.path in self.hang:
            await self._stop.wait()
        response = await self._response(asked, request.headers.get("Authorization", ""))
        return await _send(request, response)

    async def _response(self, asked: Request, authorization: str) -> Response:
        if self.api_key and authorization != f"Bearer {self.api_key}" and (refused := self.refuse(asked)):
            return refused
        handler = self._handler(asked)
        if handler is None and asked.method == "GET" and asked.path in FOREIGN:
            return shape(self.unknown).response()
        if handler is None:
            self.uncovered.append(str(asked))
            with (self.folder / "uncovered.ndjson").open("ab") as file:
                file.write(line(str(asked)))
            return Response(UNCOVERED, text=f"no fixture covers {asked}")
        return await handler(self, asked)

    def _handler(self, asked: Request) -> Answerer | None:
        for (method, path), (_, handler) in self.routes.items():
            if method == asked.method and (
                path == asked.path or (path[-1] == "*" and asked.path.startswith(path[:-1]))
            ):
                return handler
        return None

    def refuse(self, asked: Request) -> Response | None:
        """What a request without the right key is answered; None when it needs no key."""
        raise NotImplementedError(f"{self.kind} has no keys: {asked}")


@functools.cache
def shape(name: str) -> Shape:
    """A recorded answer, by its file under `tests/fixtures/`."""
    return Shape(name)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _send(request: web.BaseRequest, response: Response) -> web.StreamResponse:
    if response.chunks is None:
        text = json.dumps(response.json) if response.text is None else response.text
        plain = web.Response(status=response.status, body=text.encode())
        plain.headers.popall("Content-Type", None)
        plain.headers.update(response.headers)
        return plain
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    await stream.prepare(request)
    with suppress(ConnectionError):
        async for chunk in response.chunks:
            await stream.write(chunk)
        await stream.write_eof()
    return stream
