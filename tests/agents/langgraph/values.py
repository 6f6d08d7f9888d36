"""A saver on a store in memory, and checkpoints to put into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from propagul_langgraph import PropagulSaver

from propagul import AgentStateStore

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointTuple


def saver(**settings: Any) -> PropagulSaver:
    """A saver whose store nobody shares."""
    return PropagulSaver(AgentStateStore(room="t", port=None), **settings)


def thread(thread_id: str = "1", checkpoint_id: str | None = None, checkpoint_ns: str = "") -> RunnableConfig:
    """A config that names a thread, and a checkpoint of it."""
    named = {"thread_id": thread_id, "checkpoint_ns": checkpoint_ns}
    return {"configurable": named if checkpoint_id is None else {**named, "checkpoint_id": checkpoint_id}}


def checkpoint(values: dict[str, object], versions: dict[str, int], checkpoint_id: str | None = None) -> Checkpoint:
    """A checkpoint with these channels."""
    made = {**empty_checkpoint(), "id": checkpoint_id or str(uuid6()), "channel_values": values}
    return cast("Checkpoint", {**made, "channel_versions": versions})


def put(
    to: PropagulSaver,
    parent: RunnableConfig,
    values: dict[str, object],
    version: int = 1,
    *,
    checkpoint_id: str | None = None,
    **metadata: object,
) -> RunnableConfig:
    """Put a checkpoint all of whose channels are new, and return its config."""
    versions: Any = dict.fromkeys(values, version)
    said: Any = {"source": "loop", "step": version, **metadata}
    return to.put(parent, checkpoint(values, versions, checkpoint_id), said, versions)


def got(of: PropagulSaver, config: RunnableConfig) -> CheckpointTuple:
    """The checkpoint that a config names, which must be there."""
    found = of.get_tuple(config)
    assert found is not None
    return found


def values_at(of: PropagulSaver, config: RunnableConfig) -> dict[str, object]:
    """The channels of a checkpoint."""
    return got(of, config).checkpoint["channel_values"]


def id_of(config: RunnableConfig) -> str:
    """The checkpoint that a config names."""
    return str(config["configurable"]["checkpoint_id"])
