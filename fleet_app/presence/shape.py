"""What a node says of itself, as everybody reads it.

Every field is bounded, and unknown fields are ignored so that a newer node can still be read. Units stand in the field
names; `None` means "this box cannot tell", never zero. How it travels stands in `fleet_app.presence.rows`.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fleet_app.exposure.kind import EXPOSURES_MAX, Exposure

_Kind = Literal[
    "llamacpp",
    "ollama",
    "vllm",
    "tgi",
    "lmstudio",
    "sglang",
    "localai",
    "koboldcpp",
    "tabbyapi",
    "lemonade",
    "docker",
    "mlx",
    "jan",
    "openai",
    "unknown",
]
BackendKind = Annotated[_Kind, BeforeValidator(lambda kind: kind if kind in KINDS else "unknown")]
"""`openai` is a server of that API that says nothing else of itself. `unknown` is an address the user named that has
not identified itself yet, or an engine that a newer node knows."""

KINDS: tuple[_Kind, ...] = get_args(_Kind)

BackendCondition = Literal["ready", "loading", "unreachable", "needs_key", "unhealthy"]

Capability = Literal["chat", "completions", "embeddings", "rerank", "vision", "tools"]

Verb = Literal["pull", "cancel", "delete", "load", "unload"]
"""What an engine can be told to do with a model. `cancel` ends a pull that goes on without whoever asked for it."""

ConditionKind = Literal["Ready", "Progressing", "Blocked", "Degraded"]

_Vendor = Literal["nvidia", "amd", "apple", "intel", ""]
GpuVendor = Annotated[_Vendor, BeforeValidator(lambda vendor: vendor if vendor in get_args(_Vendor) else "")]

Throttle = Literal["power limit", "temperature", "power supply", "hardware slowdown", "sync with another card"]
"""Why a GPU runs slower than it could."""

THROTTLES: tuple[Throttle, ...] = get_args(Throttle)

Bytes = Annotated[int, Field(ge=0, le=2**60)]
Percent = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Watts = Annotated[float, Field(ge=0, le=5000)]
Mhz = Annotated[int, Field(ge=0, le=100_000)]


def _known(words: object) -> BeforeValidator:
    """Of a list of words those that this version knows, each once."""
    known = get_args(words)
    return BeforeValidator(
        lambda said: [word for word in known if word in said] if isinstance(said, list | tuple) else said
    )


class _Row(BaseModel):
    """Frozen, and tolerant of fields that a newer version added."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Usage(_Row):
    """An amount in use out of a total, both in bytes."""

    used_bytes: Bytes
    total_bytes: Bytes


class Cpu(_Row):
    """Load over the last sample, and the number of cores this node may use (a container's limit counts)."""

    percent: Percent
    cores: Annotated[float, Field(ge=0, le=4096)]


class GpuProcess(_Row):
    """A process that uses a GPU. In a container the number may be the host's."""

    pid: Annotated[int, Field(ge=0, le=2**32)]
    name: Text = ""
    vram_bytes: Bytes | None = None


class Gpu(_Row):
    """One accelerator. Every field fails on its own: a card without a power sensor still shows its memory.

    Attributes:
        vendor: Empty where a newer node knows one more.
        throttled: Why it runs slower than it could, in words; idling and chosen clocks are no trouble.
        ecc_errors: Uncorrected ones since the driver was loaded.
        unified: `vram` is the machine's memory, which GPU and processor share.
        processes: Who uses it, largest first.
    """

    index: Annotated[int, Field(ge=0, le=255)]
    name: Text
    vendor: GpuVendor = ""
    uuid: Annotated[str, Field(max_length=64)] = ""
    percent: Percent | None = None
    vram: Usage | None = None
    temperature_c: Annotated[float, Field(ge=-50, le=250)] | None = None
    power_w: Watts | None = None
    power_limit_w: Watts | None = None
    clock_mhz: Mhz | None = None
    clock_max_mhz: Mhz | None = None
    memory_clock_mhz: Mhz | None = None
    throttled: Annotated[tuple[Throttle, ...], _known(Throttle)] = ()
    ecc_errors: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    unified: bool = False
    processes: Annotated[tuple[GpuProcess, ...], Field(max_length=32)] = ()


class Model(_Row):
    """A model an engine serves.

    Attributes:
        name: As its engine calls it, in the one form that the engine's adapter keeps.
        loaded: Whether it is in memory; None where the engine does not tell.
        size_bytes: On the disk.
        vram_bytes: Of it, in the GPU's memory now.
        context: Tokens that one request may use: as it is loaded, else the most that the model allows.
        capabilities: What it can be asked for; empty where the engine does not tell.
    """

    name: Annotated[str, Field(min_length=1, max_length=256)]
    loaded: bool | None = None
    size_bytes: Bytes | None = None
    vram_bytes: Bytes | None = None
    context: Annotated[int, Field(ge=0, le=2**40)] | None = None
    capabilities: Annotated[tuple[Capability, ...], _known(Capability)] = ()


class BackendPresence(_Row):
    """One inference server beside the node.

    Attributes:
        kind: Which engine.
        url: For people; it is reachable from its own node only.
        can: What it can be told to do with its models.
        slots: Requests that it works on at once.
        running: Requests that it works on now, by its own count.
        queued: Requests that wait in it, by its own count.
        in_flight: Requests that this node has sent it and that run now.
    """

    kind: BackendKind
    url: Text
    condition: BackendCondition
    reason: Text = ""
    version: Text | None = None
    models: Annotated[tuple[Model, ...], Field(max_length=5000)] = ()
    can: Annotated[tuple[Verb, ...], _known(Verb)] = ()
    slots: Count | None = None
    running: Count | None = None
    queued: Count | None = None
    in_flight: Count = 0


class Pull(_Row):
    """A model on its way to an engine. `total_bytes` is None until the engine tells."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    url: Text
    status: Text = ""
    completed_bytes: Bytes = 0
    total_bytes: Bytes | None = None


class Condition(_Row):
    """How something that was declared stands on this node.

    Attributes:
        model: The declared model, as it was declared.
        kind: `Ready`: as declared. `Progressing`: on its way. `Blocked`: something must change first; `reason` says
            what. `Degraded`: tried and failed, and tried again later.
        reason: In words.
    """

    model: Annotated[str, Field(min_length=1, max_length=256)]
    kind: ConditionKind
    reason: Text = ""


class NodePresence(_Row):
    """All that a node says of itself.

    `at_s` (when it was last heard) and `started_s` are seconds since the epoch by the node's own clock: for display
    only, never compared with ours. `platform` is the system and its processor, such as `linux/x86_64`. `state` is what
    the node intends; whether it is alive is the receiver's judgement.
    """

    schema_version: Annotated[int, Field(ge=1, le=1000)] = 1
    name: Annotated[str, Field(min_length=1, max_length=64)]
    version: Text
    platform: Text = ""
    at_s: Annotated[float, Field(ge=0, le=1e12)]
    started_s: Annotated[float, Field(ge=0, le=1e12)]
    state: Literal["up", "draining"] = "up"
    cpu: Cpu | None = None
    ram: Usage | None = None
    disk: Usage | None = None
    gpus: Annotated[tuple[Gpu, ...], Field(max_length=64)] = ()
    backends: Annotated[tuple[BackendPresence, ...], Field(max_length=64)] = ()
    in_flight: Count = 0
    pulls: Annotated[tuple[Pull, ...], Field(max_length=64)] = ()
    conditions: Annotated[tuple[Condition, ...], Field(max_length=2000)] = ()
    exposures: Annotated[tuple[Exposure, ...], Field(max_length=EXPOSURES_MAX)] = ()
