"""What a node says of itself, every two seconds: one packed row, written here and checked here.

The row travels through the ephemeral presence namespace under `nodes/<node id>`. What arrives comes from another
machine and is treated as hostile: `NodePresence.model_validate` is the only way in, every field is bounded, unknown
fields are ignored so that a newer node can still be read. Units stand in the field names; `None` means "this box
cannot tell", never zero.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

BackendKind = Literal["llamacpp", "ollama", "vllm", "tgi", "lmstudio", "unknown"]
"""`unknown` is an address the user named that has not identified itself yet."""

BackendCondition = Literal["ready", "loading", "unreachable", "needs_key", "unhealthy"]

Bytes = Annotated[int, Field(ge=0, le=2**60)]
Percent = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=256)]


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


class Gpu(_Row):
    """One accelerator. Every field fails on its own: a card without a power sensor still shows its memory."""

    index: Annotated[int, Field(ge=0, le=255)]
    name: Text
    percent: Percent | None = None
    vram: Usage | None = None
    temperature_c: Annotated[float, Field(ge=-50, le=250)] | None = None
    power_w: Annotated[float, Field(ge=0, le=5000)] | None = None


class Model(_Row):
    """A model an engine serves. `loaded` is None where the engine does not tell."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    loaded: bool | None = None
    size_bytes: Bytes | None = None


class BackendPresence(_Row):
    """One inference server beside the node. `url` is for people; it is reachable from its own node only."""

    kind: BackendKind
    url: Text
    condition: BackendCondition
    reason: Text = ""
    version: Text | None = None
    models: Annotated[tuple[Model, ...], Field(max_length=500)] = ()
    in_flight: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class NodePresence(_Row):
    """The whole row.

    `at_s` and `started_s` are seconds since the epoch by the node's own clock: for display only, never compared with
    ours. `state` is what the node intends; whether it is alive is the receiver's judgement.
    """

    schema_version: Annotated[int, Field(ge=1, le=1000)] = 1
    name: Annotated[str, Field(min_length=1, max_length=64)]
    version: Text
    at_s: Annotated[float, Field(ge=0, le=1e12)]
    started_s: Annotated[float, Field(ge=0, le=1e12)]
    state: Literal["up", "draining"] = "up"
    cpu: Cpu | None = None
    ram: Usage | None = None
    disk: Usage | None = None
    gpus: Annotated[tuple[Gpu, ...], Field(max_length=64)] = ()
    backends: Annotated[tuple[BackendPresence, ...], Field(max_length=64)] = ()
    in_flight: Annotated[int, Field(ge=0, le=1_000_000)] = 0
