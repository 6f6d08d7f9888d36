"""A real dashboard on a loopback port, fleets made of real heartbeats, and a chat endpoint that streams awkwardly."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Literal, Self

from aiohttp import web

from fleet_app.dashboard import Dashboard
from fleet_app.gateway.routing import header_text
from fleet_app.presence import BackendPresence, Cpu, Gpu, Model, NodePresence, Usage
from fleet_app.view import FleetView, NodeView

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from fleet_app.presence import BackendCondition, BackendKind
    from fleet_app.view import Reach

GIB = 1024**3


def identity(name: str) -> str:
    """A 52-character identity that is always the same for a name."""
    return (name.encode().hex().translate(str.maketrans("0189", "wxyz")) + "a" * 52)[:52]


def gpu(
    index: int = 0, *, name: str = "NVIDIA GeForce RTX 4090", percent: float | None = 41, used_gib: float = 18.2
) -> Gpu:
    vram = Usage(used_bytes=int(used_gib * GIB), total_bytes=24 * GIB)
    return Gpu(index=index, name=name, percent=percent, vram=vram, temperature_c=61, power_w=287)


def engine(
    *models: Model | str,
    kind: BackendKind = "llamacpp",
    condition: BackendCondition = "ready",
    reason: str = "",
    in_flight: int = 0,
    url: str = "http://127.0.0.1:8080",
) -> BackendPresence:
    listed = tuple(Model(name=model, loaded=True) if isinstance(model, str) else model for model in models)
    return BackendPresence(
        kind=kind, url=url, condition=condition, reason=reason, version="b6987", models=listed, in_flight=in_flight
    )


def presence(
    name: str = "rack-1",
    *,
    cpu: float | None = 23.0,
    ram_gib: float = 21.3,
    gpus: tuple[Gpu, ...] = (),
    backends: tuple[BackendPresence, ...] = (),
    state: Literal["up", "draining"] = "up",
    in_flight: int = 0,
    bare: bool = False,
) -> NodePresence:
    at_s = time.time()
    return NodePresence(
        name=name[:64],
        version="1.0.0",
        at_s=at_s,
        started_s=at_s - 3 * 86400,
        state=state,
        cpu=None if bare or cpu is None else Cpu(percent=cpu, cores=16),
        ram=None if bare else Usage(used_bytes=int(ram_gib * GIB), total_bytes=64 * GIB),
        disk=None if bare else Usage(used_bytes=410 * 10**9, total_bytes=930 * 10**9),
        gpus=gpus,
        backends=backends,
        in_flight=in_flight,
    )


def node(
    name: str,
    said: NodePresence | None,
    *,
    state: Literal["up", "draining", "down"] = "up",
    reach: Reach = "linked",
    heard_s: float | None = 0.8,
    addresses: tuple[str, ...] = ("10.77.0.2:9001",),
) -> NodeView:
    return NodeView(
        id=identity(name), name=name, state=state, reach=reach, heard_s=heard_s, presence=said, addresses=addresses
    )


def two_nodes(**changes: object) -> FleetView:
    """rack-1 is this node with a GPU and an engine, rack-2 a plain box; keywords replace fields of rack-2's view."""
    said = presence("rack-1", gpus=(gpu(),), backends=(engine("tiny-llama", in_flight=2),), in_flight=2)
    other = presence("rack-2", cpu=61.0, backends=(engine("qwen3-8b", kind="ollama", url="http://127.0.0.1:11434"),))
    fields = {"state": "up", "heard_s": 0.8, "reach": "linked", **changes}
    return FleetView(nodes=(node("rack-1", said, reach="here", heard_s=0.0), node("rack-2", other, **fields)))  # type: ignore[arg-type]  # a test's own keywords


class Served:
    """A dashboard served from a thread with a loop of its own; `view` may be exchanged at any time.

    Args:
        view: What the dashboard shows: a view, or a function that makes one at each tick.
        declared: What is declared, as `fleet_app.desired.shown` says it.
        chat: The handler of `POST /v1/chat/completions`.
        interval_s: The dashboard's tick.
        port: The port to listen on; 0 picks one.
    """

    def __init__(
        self,
        view: FleetView | Callable[[], FleetView],
        *,
        declared: Sequence[dict[str, object]] = (),
        chat: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
        interval_s: float = 0.05,
        port: int = 0,
    ) -> None:
        self.declared = declared
        self.view, self._chat, self._interval_s, self.port = view, chat, interval_s, port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the test's server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the test's server did not shut down"

    @property
    def watchers(self) -> int:
        return self.dashboard.watchers

    async def _serve(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.dashboard = Dashboard(
            lambda: self.view() if callable(self.view) else self.view,
            declared=lambda: list(self.declared),
            interval_s=self._interval_s,
        )
        app = web.Application()
        app.add_routes(self.dashboard.routes())
        if self._chat is not None:
            app.add_routes([web.post("/v1/chat/completions", self._chat)])
        runner = web.AppRunner(app, shutdown_timeout=2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.dashboard.run())
            self._ready.set()
            await self._stop.wait()
            await self.dashboard.aclose()
        await runner.cleanup()


def chunk(text: str, **more: object) -> bytes:
    """One event of a streamed answer, with its words as plain UTF-8."""
    body = {"choices": [{"index": 0, "delta": {"content": text}, **more}]}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


async def stream_open(request: web.Request, node_name: str = "rack-2") -> web.StreamResponse:
    """Start an event stream as the gateway does."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Propagul-Node": node_name})
    await response.prepare(request)
    return response


async def awkward_chat(request: web.Request) -> web.StreamResponse:
    """Stream an answer as the standard allows and few expect: comments, CRLF, an event of two lines, an open end."""
    asked = json.dumps(f"You said: {(await request.json())['messages'][-1]['content']} ", ensure_ascii=False)
    response = await stream_open(request, header_text("räck-2 100%"))
    await response.write(b": hello\r\n\r\nevent: message\r\n")
    await response.write(f'data: {{"choices": [\r\ndata:{{"delta": {{"content": {asked}}}}}]}}\r\n\r\n'.encode())
    await response.write(chunk("Grüße 👩‍👩‍👧 日本語 ") + chunk("done.") + chunk("", finish_reason="stop").rstrip())
    return response
