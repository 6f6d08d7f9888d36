"""A fleet's presence without a network: what nodes say, and everything a node can say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet_app.presence import (
    BackendPresence,
    Condition,
    Cpu,
    Gpu,
    GpuProcess,
    Model,
    NodePresence,
    Pull,
    Usage,
)
from propagul import Heard

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
MIB = 2**20


@dataclass
class Board:
    """Implements `fleet_app.presence.demand.Said`; what several nodes say on it, all of them hear."""

    rows: dict[str, object] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    origin: str = "a"
    listeners: list[Callable[[str], None]] = field(default_factory=list)

    def set(self, key: str, value: object) -> None:
        self.rows[key] = value
        self._wrote(key)

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)
        self._wrote(key)

    def listen(self, heard: Callable[[str], None]) -> None:
        self.listeners.append(heard)

    def _wrote(self, key: str) -> None:
        self.writes.append(key)
        for heard in self.listeners:
            heard(key)

    def get(self, key: str, *, bytes_max: int) -> Heard | None:
        assert bytes_max == 0
        return Heard(value=self.rows[key], age_s=0.0, origin=self.origin) if key in self.rows else None

    def heard(self, row: str) -> dict[str, Heard]:
        """The rows of a node by what follows its own."""
        return {
            key.removeprefix(row).lstrip("/"): Heard(value=value, age_s=0.0, origin=self.origin)
            for key, value in self.rows.items()
            if key.startswith(row)
        }


def engine(url: str = "http://127.0.0.1:11434", *, models: int = 2, in_flight: int = 0) -> BackendPresence:
    listed = tuple(
        Model(name=f"model-{number:04}:7b", loaded=number == 0, size_bytes=4 * GIB, capabilities=("chat", "tools"))
        for number in range(models)
    )
    return BackendPresence(
        kind="ollama",
        url=url,
        condition="ready",
        version="0.12.3",
        models=listed,
        can=("pull", "delete"),
        slots=4,
        running=in_flight,
        queued=0,
        in_flight=in_flight,
    )


def gpu(index: int = 0, *, percent: float = 40.0, used_mib: int = 4096) -> Gpu:
    return Gpu(
        index=index,
        name="GeForce RTX 4090",
        vendor="nvidia",
        uuid=f"GPU-{index}",
        percent=percent,
        vram=Usage(used_bytes=used_mib * MIB, total_bytes=24 * GIB),
        temperature_c=61.0,
        power_w=150.0,
        power_limit_w=450.0,
        clock_mhz=2520,
        clock_max_mhz=3105,
        memory_clock_mhz=10501,
        throttled=("power limit",),
        ecc_errors=0,
        processes=(GpuProcess(pid=4711, name="ollama", vram_bytes=3 * GIB),),
    )


def box(
    name: str = "attic",
    *,
    at_s: float = 1_000_010.0,
    cpu: float | None = 12.0,
    gpus: tuple[Gpu, ...] = (),
    backends: tuple[BackendPresence, ...] = (),
    pulls: tuple[Pull, ...] = (),
    conditions: tuple[Condition, ...] = (),
    draining: bool = False,
    in_flight: int = 0,
) -> NodePresence:
    return NodePresence(
        name=name,
        version="1.0.0",
        platform="linux/x86_64",
        at_s=at_s,
        started_s=1_000_000.0,
        state="draining" if draining else "up",
        cpu=None if cpu is None else Cpu(percent=cpu, cores=16.0),
        ram=Usage(used_bytes=21 * GIB, total_bytes=64 * GIB),
        disk=Usage(used_bytes=448 * GIB, total_bytes=931 * GIB),
        gpus=gpus,
        backends=backends,
        pulls=pulls,
        conditions=conditions,
        in_flight=in_flight,
    )
