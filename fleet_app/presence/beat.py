"""What moves: the one row that a node writes with every beat, as short as people's reading allows.

    beat    = [form, uptime, next, flags, cpu, ram, disk, in flight, gpus, engines]
    gpus    = [index, percent, MiB, celsius, watts, MHz, memory MHz, throttles, ...]     eight a GPU
    engines = [number, in flight, running, queued, ...]                                  four an engine

Seconds, whole percents and MiB; what cannot be told is nil, what ends a list with nothing in it is left out. Everything
else a node says stands in rows of its own (`fleet_app.presence.rows`). A longer list is a newer version's: what is
known is read. The rule of this file: no clock, no I/O.

A beat that would tell nothing new is not sent (`moved`): to the reader a figure is as good as the step it moves in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Final, TypeAlias

from fleet_app.presence.shape import THROTTLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fleet_app.presence.shape import BackendPresence, Gpu, NodePresence, Throttle, Usage

FORM: Final = 1
MIB: Final = 2**20
DISK_STEP_MIB: Final = 64
COUNT_MAX: Final = 1_000_000

Number: TypeAlias = "int | None"
Packed: TypeAlias = "list[int | list[int | None] | None]"

_DRAINING: Final = 1
_GPU_WIDTH, _ENGINE_WIDTH = 8, 4
_STEPS: Final = (5, 256, 256, 0)
_GPU_STEPS: Final = (0, 5, 64, 2, 10, 100, 100, 0)
"""By more than this a figure moves before it is news: processor, memory, disk, requests; the columns of a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuBeat:
    """What moves of one GPU."""

    percent: Number = None
    vram_mib: Number = None
    celsius: Number = None
    watts: Number = None
    clock_mhz: Number = None
    memory_clock_mhz: Number = None
    throttles: Number = 0

    @property
    def throttled(self) -> tuple[Throttle, ...]:
        """The reasons that this version knows."""
        bits = self.throttles or 0
        return tuple(word for place, word in enumerate(THROTTLES) if bits >> place & 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBeat:
    """What moves of one engine."""

    in_flight: int = 0
    running: Number = None
    queued: Number = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One beat.

    Attributes:
        uptime_s: Since the node started, so that two beats are never the same.
        next_s: The next beat comes within so many seconds, whatever happens.
        gpus: By index.
        engines: By the number that their row has.
    """

    uptime_s: int
    next_s: int
    draining: bool
    cpu_percent: Number
    ram_mib: Number
    disk_mib: Number
    in_flight: int
    gpus: Mapping[int, GpuBeat]
    engines: Mapping[int, EngineBeat]


def pack(said: NodePresence, numbers: Mapping[str, int], *, next_s: float) -> Packed:
    """The beat of what a node says; `numbers` are those of its engines by their addresses."""
    beat: Packed = [
        FORM,
        max(0, int(said.at_s - said.started_s)),
        int(next_s),
        _DRAINING if said.state == "draining" else 0,
        None if said.cpu is None else round(said.cpu.percent),
        _mib(said.ram),
        _mib(said.disk, DISK_STEP_MIB),
        said.in_flight,
        [figure for gpu in said.gpus for figure in _gpu(gpu)],
        [figure for engine in said.backends for figure in _engine(engine, numbers[engine.url])],
    ]
    while beat[-1] in (None, []):
        beat.pop()
    return beat


def unpack(row: object) -> Beat | None:
    """The beat in a row; None if it is none that this version reads."""
    if not isinstance(row, list) or len(row) < 4 or row[0] != FORM:
        return None
    values = [*row[1:10], *[None] * 9][:9]
    uptime, following, flags, cpu, ram, disk, in_flight = map(_number, values[:7])
    return Beat(
        uptime_s=uptime or 0,
        next_s=following or 0,
        draining=bool((flags or 0) & _DRAINING),
        cpu_percent=None if cpu is None else min(cpu, 100),
        ram_mib=ram,
        disk_mib=disk,
        in_flight=min(in_flight or 0, COUNT_MAX),
        gpus={index: _read_gpu(figures) for index, figures in _groups(values[7], _GPU_WIDTH)},
        engines={
            number: EngineBeat(in_flight=_count(one) or 0, running=_count(two), queued=_count(three))
            for number, (one, two, three) in _groups(values[8], _ENGINE_WIDTH)
        },
    )


def moved(before: Packed, now: Packed) -> bool:
    """Whether somebody who has read the one learns anything from the other."""
    if before[3] != now[3] or before[9:] != now[9:]:
        return True
    if any(map(_far, _figures(before[4:8], 4), _figures(now[4:8], 4), _STEPS)):
        return True
    then, gpus = ([] if len(beat) < 9 else _figures(beat[8]) for beat in (before, now))
    return len(then) != len(gpus) or any(map(_far, then, gpus, cycle(_GPU_STEPS)))


def tells_more(before: Packed, now: Packed) -> bool:
    """Whether a load of the box, its memory or disk is told now that could not be told before."""
    return any(
        then is None and figure is not None
        for then, figure in zip(_figures(before[4:7], 3), _figures(now[4:7], 3), strict=True)
    )


def throttle_bits(reasons: Sequence[Throttle]) -> int:
    """Reasons as a beat carries them."""
    return sum(1 << THROTTLES.index(reason) for reason in reasons)


def _far(before: Number, now: Number, step: int) -> bool:
    return before is not now if before is None or now is None else abs(before - now) > step


def _figures(items: object, length: int = 0) -> list[Number]:
    figures = items if isinstance(items, list) else []
    return [*figures, *[None] * (length - len(figures))]


def _mib(usage: Usage | None, step: int = 1) -> Number:
    return None if usage is None else round(usage.used_bytes / (MIB * step)) * step


def _gpu(gpu: Gpu) -> list[Number]:
    return [
        gpu.index,
        _rounded(gpu.percent),
        _mib(gpu.vram),
        _rounded(gpu.temperature_c),
        _rounded(gpu.power_w),
        gpu.clock_mhz,
        gpu.memory_clock_mhz,
        throttle_bits(gpu.throttled),
    ]


def _engine(engine: BackendPresence, number: int) -> list[Number]:
    """Nothing where an engine tells nothing and has nothing to do."""
    if engine.in_flight == 0 and engine.running is None and engine.queued is None:
        return []
    return [number, engine.in_flight, engine.running, engine.queued]


def _rounded(figure: float | None) -> Number:
    return None if figure is None else round(figure)


def _read_gpu(figures: list[Number]) -> GpuBeat:
    percent, vram, celsius, watts, clock, memory, throttles = figures
    return GpuBeat(
        percent=None if percent is None else min(percent, 100),
        vram_mib=vram,
        celsius=None if celsius is None else min(celsius, 250),
        watts=None if watts is None else min(watts, 5000),
        clock_mhz=None if clock is None else min(clock, 100_000),
        memory_clock_mhz=None if memory is None else min(memory, 100_000),
        throttles=throttles,
    )


def _groups(figures: object, width: int) -> Iterator[tuple[int, list[Number]]]:
    """Whole groups of figures by their first one; what is none is left out."""
    flat = figures if isinstance(figures, list) else []
    for at in range(0, len(flat) - width + 1, width):
        name = _number(flat[at])
        if name is not None:
            yield name, list(map(_number, flat[at + 1 : at + width]))


def _count(number: Number) -> Number:
    return None if number is None else min(number, COUNT_MAX)


def _number(item: object) -> Number:
    """A count within bounds; None for anything else. A temperature below zero is read as zero."""
    if type(item) is not int or abs(item) > 2**40:
        return None
    return max(item, 0)
