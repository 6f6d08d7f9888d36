"""What a node says, in rows under `nodes/<id>`: what moves in one, what stands in others, and back.

    nodes/<id>                          the beat: see `fleet_app.presence.beat`
    nodes/<id>/about                    name, version, platform, start, sizes of processor, memory and disk
    nodes/<id>/gpus/<page>              what stands of each GPU
    nodes/<id>/processes                [GPU, process, name, bytes], ...
    nodes/<id>/engines/<number>         what stands of an engine; its number is that of this run of the node
    nodes/<id>/models/<number>/<page>   its models
    nodes/<id>/pulls                    models on their way
    nodes/<id>/conditions/<page>        how what was declared stands here
    nodes/<id>/exposures                what others can reach there without a key
    nodes/<id>/watching                 somebody watches the fleet there: see `fleet_app.presence.demand`

Rows that stand are written when they change, so that a beat costs what moves and nothing else. What is long is in
pages, never cut. Fields are named here, without their defaults, and a field or a row of a newer version is passed over.
Reading never raises: a part that cannot be read is left out and counted, and hides no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_app.exposure.kind import EXPOSURES_MAX, Exposure
from fleet_app.presence.beat import MIB, Beat, EngineBeat, GpuBeat
from fleet_app.presence.shape import (
    BackendPresence,
    Bytes,
    Condition,
    Cpu,
    Gpu,
    GpuProcess,
    Model,
    NodePresence,
    Pull,
    Text,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fleet_app.presence.beat import Number

ABOUT: Final = "about"
PAGE_GPUS, PAGE_MODELS, PAGE_CONDITIONS = 16, 40, 100
"""So many a page, with room for as many fields again."""

ENGINES_MAX, MODELS_MAX, GPUS_MAX, PULLS_MAX, CONDITIONS_MAX, PROCESSES_MAX = 64, 5000, 64, 64, 2000, 32

_MOVING_GPU: Final = frozenset(
    {"percent", "vram", "temperature_c", "power_w", "clock_mhz", "memory_clock_mhz", "throttled", "processes"}
)
_MOVING_ENGINE: Final = frozenset({"in_flight", "running", "queued", "models"})

_Shape = TypeVar("_Shape", bound=BaseModel)


class _About(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    version: Text
    platform: Text = ""
    started_s: Annotated[float, Field(ge=0, le=1e12)]
    cores: Annotated[float, Field(ge=0, le=4096)] | None = None
    ram_bytes: Bytes | None = None
    disk_bytes: Bytes | None = None


class _StandingGpu(Gpu):
    vram_bytes: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands of a node, read.

    Attributes:
        gpus: Without what moves; `vram` has the total and nothing in use.
        engines: By number, without what moves.
        refused: Parts that this version cannot read.
    """

    about: _About
    gpus: tuple[Gpu, ...] = ()
    engines: Mapping[int, BackendPresence] = field(default_factory=dict)
    pulls: tuple[Pull, ...] = ()
    conditions: tuple[Condition, ...] = ()
    exposures: tuple[Exposure, ...] = ()
    refused: int = 0


# --- written -----------------------------------------------------------------------------------------------------


def standing_rows(said: NodePresence, numbers: Mapping[str, int]) -> dict[str, object]:
    """The rows of all that stands, by what follows `nodes/<id>/`. `numbers` are those of the engines by address."""
    rows: dict[str, object] = {ABOUT: _about(said)}
    rows |= _paged("gpus", map(_gpu, said.gpus), PAGE_GPUS)
    processes = [
        [gpu.index, one.pid, one.name, one.vram_bytes] for gpu in said.gpus for one in gpu.processes[:PROCESSES_MAX]
    ]
    if processes:
        rows["processes"] = processes
    for engine in said.backends:
        number = numbers[engine.url]
        rows[f"engines/{number}"] = _dump(engine, _MOVING_ENGINE)
        rows |= _paged(f"models/{number}", map(_dump, sorted(engine.models, key=_name)), PAGE_MODELS)
    if said.pulls:
        rows["pulls"] = list(map(_dump, said.pulls))
    if said.exposures:
        rows["exposures"] = list(map(_dump, said.exposures))
    return rows | _paged("conditions", map(_dump, said.conditions), PAGE_CONDITIONS)


def _about(said: NodePresence) -> dict[str, object]:
    told = {
        "name": said.name,
        "version": said.version,
        "platform": said.platform,
        "started_s": said.started_s,
        "cores": said.cpu and said.cpu.cores,
        "ram_bytes": said.ram and said.ram.total_bytes,
        "disk_bytes": said.disk and said.disk.total_bytes,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _gpu(gpu: Gpu) -> dict[str, object]:
    return _dump(gpu, _MOVING_GPU) | ({} if gpu.vram is None else {"vram_bytes": gpu.vram.total_bytes})


def _dump(part: BaseModel, moving: frozenset[str] = frozenset()) -> dict[str, object]:
    return part.model_dump(mode="json", exclude_defaults=True, exclude=set(moving))


def _paged(name: str, items: Iterable[object], length: int) -> dict[str, object]:
    told = list(items)
    return {f"{name}/{at // length}": told[at : at + length] for at in range(0, len(told), length)}


def _name(model: Model) -> str:
    return model.name


# --- read --------------------------------------------------------------------------------------------------------


def read_standing(rows: Mapping[str, object]) -> Standing | None:
    """What the rows of a node say, by what follows `nodes/<id>/`; None while it has not said who it is."""
    reader = _Reader(rows)
    about = reader.one(_About, rows.get(ABOUT))
    if about is None:
        return None
    engines: dict[int, BackendPresence] = {}
    for number in sorted(reader.numbers("engines"))[:ENGINES_MAX]:
        engine = reader.one(BackendPresence, rows[f"engines/{number}"])
        if engine is not None:
            models = {model.name: model for model in reader.pages(Model, f"models/{number}", MODELS_MAX)}
            engines[number] = engine.model_copy(update={"models": tuple(models.values())})
    return Standing(
        about=about,
        gpus=tuple(map(_stand, reader.pages(_StandingGpu, "gpus", GPUS_MAX), [reader.processes()] * GPUS_MAX)),
        engines=engines,
        pulls=tuple(reader.listed(Pull, rows.get("pulls", []), PULLS_MAX)),
        conditions=tuple(reader.pages(Condition, "conditions", CONDITIONS_MAX)),
        exposures=tuple(reader.listed(Exposure, rows.get("exposures", []), EXPOSURES_MAX)),
        refused=reader.refused,
    )


def presence_of(standing: Standing, beat: Beat | None) -> NodePresence:
    """What stands and what moves, put together. Without a beat nothing is known of what moves."""
    about = standing.about
    uptime_s, in_flight = (0, 0) if beat is None else (beat.uptime_s, beat.in_flight)
    cpu = None if beat is None else beat.cpu_percent
    engines = {} if beat is None else beat.engines
    gpus = {} if beat is None else beat.gpus
    return NodePresence.model_construct(
        name=about.name,
        version=about.version,
        platform=about.platform,
        at_s=about.started_s + uptime_s,
        started_s=about.started_s,
        state="draining" if beat is not None and beat.draining else "up",
        cpu=None if cpu is None or about.cores is None else Cpu(percent=cpu, cores=about.cores),
        ram=_usage(None if beat is None else beat.ram_mib, about.ram_bytes),
        disk=_usage(None if beat is None else beat.disk_mib, about.disk_bytes),
        gpus=tuple(_moving(gpu, gpus.get(gpu.index, GpuBeat())) for gpu in standing.gpus),
        backends=tuple(_busy(engine, engines.get(number)) for number, engine in standing.engines.items()),
        in_flight=in_flight,
        pulls=standing.pulls,
        conditions=standing.conditions,
        exposures=standing.exposures,
    )


class _Reader:
    """Reads parts, and counts those it cannot read."""

    def __init__(self, rows: Mapping[str, object]) -> None:
        self._rows = rows
        self.refused = 0

    def one(self, shape: type[_Shape], row: object) -> _Shape | None:
        try:
            return shape.model_validate(row)
        except ValidationError:
            self.refused += 1
            return None

    def listed(self, shape: type[_Shape], row: object, most: int) -> Iterator[_Shape]:
        items = row if isinstance(row, list) else [None]
        self.refused += len(items) > most
        for item in items[:most]:
            part = self.one(shape, item)
            if part is not None:
                yield part

    def pages(self, shape: type[_Shape], name: str, most: int) -> list[_Shape]:
        """Everything on the pages of a name, in their order."""
        found: list[_Shape] = []
        for page in sorted(self.numbers(name)):
            found += self.listed(shape, self._rows[f"{name}/{page}"], most - len(found))
        return found

    def numbers(self, name: str) -> set[int]:
        """What follows a name, where that is a number as we write it."""
        tails = (key.removeprefix(f"{name}/") for key in self._rows if key.startswith(f"{name}/"))
        return {int(tail) for tail in tails if re.fullmatch("0|[1-9][0-9]{0,4}", tail)}

    def processes(self) -> dict[int, list[GpuProcess]]:
        """Who uses which GPU."""
        found: dict[int, list[GpuProcess]] = {}
        row = self._rows.get("processes", [])
        for item in row[: GPUS_MAX * PROCESSES_MAX] if isinstance(row, list) else ():
            match item:
                case [int(gpu), pid, name, vram_bytes, *_]:
                    part = self.one(GpuProcess, {"pid": pid, "name": name, "vram_bytes": vram_bytes})
                    if part is not None:
                        found.setdefault(gpu, []).append(part)
                case _:
                    self.refused += 1
        return found


def _stand(gpu: _StandingGpu, processes: Mapping[int, Sequence[GpuProcess]]) -> Gpu:
    """What stands of a GPU, and who uses it."""
    told: dict[str, Any] = {name: getattr(gpu, name) for name in Gpu.model_fields if name not in _MOVING_GPU}
    total = gpu.vram_bytes
    return Gpu.model_construct(
        **told,
        vram=None if total is None else Usage(used_bytes=0, total_bytes=total),
        processes=tuple(processes.get(gpu.index, ())[:PROCESSES_MAX]),
    )


def _moving(gpu: Gpu, beat: GpuBeat) -> Gpu:
    return gpu.model_copy(
        update={
            "percent": _float(beat.percent),
            "vram": _usage(beat.vram_mib, None if gpu.vram is None else gpu.vram.total_bytes),
            "temperature_c": _float(beat.celsius),
            "power_w": _float(beat.watts),
            "clock_mhz": beat.clock_mhz,
            "memory_clock_mhz": beat.memory_clock_mhz,
            "throttled": beat.throttled,
        }
    )


def _busy(engine: BackendPresence, beat: EngineBeat | None) -> BackendPresence:
    if beat is None:
        return engine
    return engine.model_copy(update={"in_flight": beat.in_flight, "running": beat.running, "queued": beat.queued})


def _usage(used_mib: Number, total_bytes: int | None) -> Usage | None:
    if used_mib is None or total_bytes is None:
        return None
    return Usage(used_bytes=min(used_mib * MIB, total_bytes), total_bytes=total_bytes)


def _float(figure: Number) -> float | None:
    return None if figure is None else float(figure)
