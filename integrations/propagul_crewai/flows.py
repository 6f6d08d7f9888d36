"""`PropagulFlowPersistence`: what a flow remembers, on every machine of the room.

One row a flow holds its state as it is now; saving replaces it. CrewAI's own persistence appends a row at every method
and never removes one; of all these, `load_state` reads the last. With `keep`, that many earlier states stay readable.
A flow that waits for a person has a second row, with what it asked and the state that it asked in.

A machine that saw the last state and saves the next one replaces it, whatever the clocks say. Two that save without
having seen each other's leave both: `load_state` gives the same one everywhere, `heads` shows all.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

from crewai.flow.async_feedback.types import PendingFeedbackContext
from crewai.flow.persistence import FlowPersistence
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError

from propagul import StoreError
from propagul_crewai._stores import OnNamedStore, texts_in

HEADS = "crewai/flow/head/"
PAST = "crewai/flow/past/"
PENDING = "crewai/flow/pending/"


class PropagulFlowPersistence(OnNamedStore, FlowPersistence):
    """Flow states and pending human feedback in a replicated store.

    `PropagulFlowPersistence("state/")`, or over a store that is open: `PropagulFlowPersistence(store)`.

    Attributes:
        keep: How many earlier states of each flow stay readable by `past`.
    """

    model_config = ConfigDict(extra="forbid")  # or a durability that is misspelt would be none
    persistence_type: str = Field(default="PropagulFlowPersistence")
    keep: int = Field(default=0, ge=0)

    def init_db(self) -> None:
        """Open the store now rather than at the first use."""
        _ = self.store

    # --- what CrewAI calls ---------------------------------------------------------------------------------------

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any] | BaseModel) -> None:
        """Make this the state of a flow. On return it survives what `durability` says.

        Raises:
            ValueError: The flow has no id, or the state is neither a dict nor a model.
            PropagulError: The store did not take it.
        """
        text = _dumped({"method": method_name, "at": time.time(), "state": _plain(state_data)})
        if self.keep:
            self._keep(flow_uuid, text)
        texts_in(self.store).put(_key(HEADS, flow_uuid), text)

    def load_state(self, flow_uuid: str) -> dict[str, Any] | None:
        """The state of a flow as it is now; None if there is none. With several heads, the same one everywhere."""
        text = texts_in(self.store).get(_key(HEADS, flow_uuid))
        return None if text is None else _state_in(text)

    def save_pending_feedback(
        self, flow_uuid: str, context: PendingFeedbackContext, state_data: dict[str, Any] | BaseModel
    ) -> None:
        """Save the state and that a person is asked; both are there, or neither is.

        Raises:
            ValueError, PropagulError: As `save_state`.
        """
        store, state = self.store, _plain(state_data)
        text = _dumped({"context": context.to_dict(), "state": state})
        with store.transaction():
            texts_in(store).put(_key(PENDING, flow_uuid), text)
            self.save_state(flow_uuid, context.method_name, state)

    def load_pending_feedback(self, flow_uuid: str) -> tuple[dict[str, Any], PendingFeedbackContext] | None:
        """What a flow asked and the state that it asked in; None if it does not wait."""
        text = texts_in(self.store).get(_key(PENDING, flow_uuid))
        if text is None:
            return None
        return _state_in(text), PendingFeedbackContext.from_dict(_loaded(text)["context"])

    def clear_pending_feedback(self, flow_uuid: str) -> None:
        """The flow does not wait any more."""
        texts_in(self.store).remove(_key(PENDING, flow_uuid))

    # --- what only a replicated store has ------------------------------------------------------------------------

    def heads(self, flow_uuid: str) -> list[dict[str, Any]]:
        """Every state that machines saved without having seen the others', the one that `load_state` gives first."""
        texts = texts_in(self.store).siblings(_key(HEADS, flow_uuid))
        return [_state_in(text) for text in texts if text is not None]

    def past(self, flow_uuid: str) -> list[dict[str, Any]]:
        """The last states that were saved, oldest first and at most `keep`, each as `method`, `at` and `state`."""
        return [_loaded(text) for _, text in texts_in(self.store).items(_past(flow_uuid))]

    def flows(self) -> list[str]:
        """The ids of all flows that have a state."""
        return [key.removeprefix(HEADS) for key in self.store.keys(HEADS)]

    def pending(self) -> list[str]:
        """The ids of all flows that wait for a person."""
        return [key.removeprefix(PENDING) for key in self.store.keys(PENDING)]

    def forget(self, flow_uuid: str) -> None:
        """Remove everything of a flow. A flow that still runs somewhere is back with the next state that it saves."""
        texts = texts_in(self.store)
        for key in (_key(PENDING, flow_uuid), _key(HEADS, flow_uuid), *self.store.keys(_past(flow_uuid))):
            texts.remove(key)

    def _keep(self, flow_uuid: str, text: str) -> None:
        prefix, texts = _past(flow_uuid), texts_in(self.store)
        texts.put(f"{prefix}{time.time_ns():020}-{uuid.uuid4().hex[:8]}", text)
        for key in self.store.keys(prefix)[: -self.keep]:
            texts.remove(key)


def _key(prefix: str, flow_uuid: str) -> str:
    if not flow_uuid:
        raise ValueError("a flow without an id cannot be saved: its state needs an `id`")
    return f"{prefix}{flow_uuid}"


def _past(flow_uuid: str) -> str:
    """Where the earlier states of a flow are; quoted, so that no flow's are among those of another one."""
    return _key(PAST, quote(flow_uuid, safe="")) + "/"


def _plain(state: dict[str, Any] | BaseModel) -> dict[str, Any]:
    if isinstance(state, BaseModel):
        return _model(state)
    if isinstance(state, dict):
        return state
    raise ValueError(f"the state of a flow is a dict or a model, not {type(state).__name__}")


def _model(model: BaseModel) -> dict[str, Any]:
    try:
        return model.model_dump(mode="json")
    except PydanticSerializationError:  # something in it that only `_as_json` knows what to do with
        return model.model_dump()


def _dumped(value: object) -> str:
    return json.dumps(value, default=_as_json)


def _as_json(value: object) -> object:
    """What JSON lacks, as CrewAI's own persistence writes it: models and dates as JSON has them, sets as lists."""
    if isinstance(value, BaseModel):
        return _model(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


def _loaded(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        raise StoreError("what is stored as the state of a flow is none that this version can read")
    return value


def _state_in(text: str) -> dict[str, Any]:
    state = _loaded(text)["state"]
    assert isinstance(state, dict)
    return state
