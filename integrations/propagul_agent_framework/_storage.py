"""`PropagulCheckpointStorage`: the `CheckpointStorage` of the Microsoft Agent Framework over a store.

    agent-framework/run/<checkpoint>                    which workflow and run a checkpoint belongs to
    agent-framework/rows/<workflow>/<run>/<checkpoint>  its time, predecessor and content, in which long parts are named
    agent-framework/pieces/<workflow>/<run>/<hash>      those parts, each once; see `Pieces`
    agent-framework/ended/<workflow>/<run>              the run is deleted

A run is a chain of checkpoints. Its pieces go when its last checkpoint is deleted, and with them the run ends: what a
replica still adds to it that has not heard of that is never seen, as it may name pieces that are gone.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self, Unpack
from urllib.parse import unquote

from agent_framework import WorkflowCheckpoint, WorkflowCheckpointException

from propagul import Connection, connect
from propagul.adapters import Pieces, Texts, asynchronous, in_thread, path
from propagul_agent_framework._codec import Codec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul import AgentStateStore, StoreOptions

_ROOT: Final = "agent-framework"
_locks: Final = [threading.Lock() for _ in range(64)]

_log = logging.getLogger("propagul.agent_framework")


class _Row(NamedTuple):
    """A checkpoint as it is stored."""

    run: str
    checkpoint_id: str
    timestamp: str
    previous: str | None
    held: object


class PropagulCheckpointStorage:
    """Checkpoints that every replica of the store's room holds, so that a workflow goes on wherever one of them is.

    What consecutive checkpoints have in common is stored once. A call has returned when the store's `durability` is
    met; the event loop never waits for that. Nothing is pickled: what is no JSON is kept as `classes` allows.

    Args:
        store: An open store, started or not. It stays open.
        classes: Classes of the program whose instances stand in messages, state or requests: dataclasses, pydantic
            models, enums, and such as are nothing but their attributes. The framework's own need not be listed.

    Attributes:
        store: Where everything is kept.
    """

    def __init__(self, store: AgentStateStore, *, classes: Iterable[type] = ()) -> None:
        self.store, self._codec = store, Codec(classes)

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, classes: Iterable[type] = (), room: str | None = None, **options: Unpack[StoreOptions]
    ) -> Connection[Self]:
        """Open a store for checkpoints, for `with` and `async with`; the options are those of `propagul.connect`."""
        return connect(conn_string, lambda store: cls(store, classes=classes), room=room, **options)

    async def save(self, checkpoint: WorkflowCheckpoint) -> str:
        """Store a checkpoint and return its id.

        Raises:
            WorkflowCheckpointException: Something in it is of a class that is not listed. Nothing was stored.
        """
        form = self._codec.encode(checkpoint.to_dict())  # here, not in a thread: it must not change meanwhile
        await in_thread(lambda: self._save(checkpoint, form))
        return str(checkpoint.checkpoint_id)

    @asynchronous
    def load(self, checkpoint_id: str) -> WorkflowCheckpoint:
        """The checkpoint of that id.

        Raises:
            WorkflowCheckpointException: There is none, a part of it has not arrived yet, or it holds something of a
                class that is not listed here.
        """
        place = self._place(checkpoint_id)
        row = None if place is None else self._row(place, checkpoint_id)
        if place is None or row is None:
            raise WorkflowCheckpointException(f"No checkpoint found with ID {checkpoint_id}")
        return self._loaded(place, row)

    @asynchronous
    def list_checkpoints(self, *, workflow_name: str) -> list[WorkflowCheckpoint]:
        """The checkpoints of a workflow, oldest first. One that `load` would refuse is left out, with a warning."""
        found = [self._loaded_or_none(workflow_name, row) for row in self._rows(workflow_name)]
        return [checkpoint for checkpoint in found if checkpoint is not None]

    @asynchronous
    def list_checkpoint_ids(self, *, workflow_name: str) -> list[str]:
        """The ids of a workflow's checkpoints, oldest first."""
        return [row.checkpoint_id for row in self._rows(workflow_name)]

    @asynchronous
    def get_latest(self, *, workflow_name: str) -> WorkflowCheckpoint | None:
        """The newest checkpoint of a workflow that nothing follows; None if there is none.

        Raises:
            WorkflowCheckpointException: `load` refuses it: an older one would repeat what was done.
        """
        heads = self._heads(workflow_name)
        return self._loaded(_place(workflow_name, heads[-1].run), heads[-1]) if heads else None

    @asynchronous
    def heads(self, *, workflow_name: str) -> list[WorkflowCheckpoint]:
        """Checkpoints that none follows, oldest first: one for each run, more where replicas went on from the same.

        Raises:
            WorkflowCheckpointException: `load` refuses one.
        """
        return [self._loaded(_place(workflow_name, row.run), row) for row in self._heads(workflow_name)]

    @asynchronous
    def delete(self, checkpoint_id: str) -> bool:
        """Delete a checkpoint, and with the last one of a run all that was kept of it; False if there is none."""
        place = self._place(checkpoint_id)
        row = None if place is None else self._row(place, checkpoint_id)
        if place is None or row is None:
            return False
        with _locks[hash(place) % len(_locks)]:
            if not self.store.delete(f"{_ROOT}/rows/{place}/{path(checkpoint_id)}"):
                return False
            self.store.delete(f"{_ROOT}/run/{path(checkpoint_id)}")
            self._kept(place)[1].drop(row.held)
            if self.store.keys(f"{_ROOT}/rows/{place}/", limit=1):
                return True
            self.store.set(f"{_ROOT}/ended/{place}", True)
        self._sweep(place)
        return True

    def _save(self, checkpoint: WorkflowCheckpoint, form: object) -> None:
        while True:
            known = self._place(checkpoint.checkpoint_id) or self._place(checkpoint.previous_checkpoint_id or "")
            same = known is not None and known.partition("/")[0] == path(checkpoint.workflow_name)
            place = known if known is not None and same else _place(checkpoint.workflow_name, secrets.token_hex(8))
            with _locks[hash(place) % len(_locks)]:
                if f"{_ROOT}/ended/{place}" not in self.store:  # or another thread deleted the last of it meanwhile
                    return self._write(place, checkpoint, form)

    def _write(self, place: str, checkpoint: WorkflowCheckpoint, form: object) -> None:
        pieces, parts = self._kept(place)
        text = pieces.taken(form)
        with self.store.transaction():
            held = [checkpoint.timestamp, checkpoint.previous_checkpoint_id, parts.stored(text)]
            self.store.set(f"{_ROOT}/rows/{place}/{path(checkpoint.checkpoint_id)}", held)
            self.store.set(f"{_ROOT}/run/{path(checkpoint.checkpoint_id)}", place)

    def _sweep(self, place: str) -> None:
        """Remove what is left of a run that ended, and of those of its workflow that something was added to late."""
        late = (key.split("/", 4) for key in self.store.keys(f"{_ROOT}/rows/{place.partition('/')[0]}/"))
        found = [(f"{workflow}/{run}", checkpoint) for _, _, workflow, run, checkpoint in late]
        ended = {one for one in {one for one, _ in found} if f"{_ROOT}/ended/{one}" in self.store} | {place}
        for one, checkpoint in found:
            if one in ended and self.store.get(f"{_ROOT}/run/{checkpoint}") == one:
                self.store.delete(f"{_ROOT}/run/{checkpoint}")
        for key in (f"{_ROOT}/{room}/{one}/" for one in ended for room in ("rows", "pieces", "parts")):
            for gone in self.store.keys(key):
                self.store.delete(gone)

    def _kept(self, place: str) -> tuple[Pieces, Texts]:
        """The pieces of a run, and the parts of texts that are too long for a row."""
        texts = Texts(self.store, f"{_ROOT}/parts/{place}/")
        return Pieces(self.store, f"{_ROOT}/pieces/{place}/", texts), texts

    def _place(self, checkpoint_id: str) -> str | None:
        """The workflow and run of a checkpoint; None if it is not known, or the run has ended."""
        place = self.store.get(f"{_ROOT}/run/{path(checkpoint_id)}")
        return place if isinstance(place, str) and f"{_ROOT}/ended/{place}" not in self.store else None

    def _row(self, place: str, checkpoint_id: str) -> _Row | None:
        return _row(
            place.partition("/")[2], checkpoint_id, self.store.get(f"{_ROOT}/rows/{place}/{path(checkpoint_id)}")
        )

    def _rows(self, workflow_name: str) -> list[_Row]:
        """A workflow's checkpoints, oldest first."""
        under, ends = f"{_ROOT}/rows/{path(workflow_name)}/", f"{_ROOT}/ended/{path(workflow_name)}/"
        ended = {key.removeprefix(ends) for key in self.store.keys(ends)}
        placed = ((key.removeprefix(under).split("/"), value) for key, value in self.store.items(under))
        rows = [_row(run, unquote(name), value) for (run, name), value in placed if run not in ended]
        return sorted((row for row in rows if row is not None), key=lambda row: (_moment(row), row.checkpoint_id))

    def _heads(self, workflow_name: str) -> list[_Row]:
        rows = self._rows(workflow_name)
        followed = {row.previous for row in rows}
        return [row for row in rows if row.checkpoint_id not in followed]

    def _loaded_or_none(self, workflow_name: str, row: _Row) -> WorkflowCheckpoint | None:
        try:
            return self._loaded(_place(workflow_name, row.run), row)
        except WorkflowCheckpointException as error:
            _log.warning("agent_framework.checkpoint_left_out id=%s reason=%s", row.checkpoint_id, error)
            return None

    def _loaded(self, place: str, row: _Row) -> WorkflowCheckpoint:
        pieces, parts = self._kept(place)
        try:
            decoded = self._codec.decode(pieces.whole(parts.text(row.held) or ""))
        except LookupError:
            raise WorkflowCheckpointException(f"Checkpoint {row.checkpoint_id} has not arrived whole yet") from None
        except (ValueError, RecursionError):
            raise WorkflowCheckpointException(f"Checkpoint {row.checkpoint_id} cannot be read") from None
        if not isinstance(decoded, dict):
            raise WorkflowCheckpointException(f"Checkpoint {row.checkpoint_id} cannot be read")
        return WorkflowCheckpoint.from_dict(decoded)


def _place(workflow_name: str, run: str) -> str:
    return f"{path(workflow_name)}/{run}"


def _row(run: str, checkpoint_id: str, value: object) -> _Row | None:
    match value:
        case [str(timestamp), None | str() as previous, held]:
            return _Row(run, checkpoint_id, timestamp, previous, held)
    return None


def _moment(row: _Row) -> dt.datetime:
    """When a checkpoint was made by the clock of its writer; long ago, if it does not say."""
    try:
        at = dt.datetime.fromisoformat(row.timestamp)
    except ValueError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)
    return at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
