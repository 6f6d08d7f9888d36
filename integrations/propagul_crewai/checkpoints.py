"""`PropagulCheckpointProvider`: CrewAI's checkpoints in a replicated store. Experimental.

CrewAI takes two kinds of providers and no third, so this one is of the kind that writes JSON files, as far as CrewAI
can see. It restores from files only: `restoring` lays one out for as long as that takes. A checkpoint is all that a
program holds, most of it as it was in the one before; what is the same is stored once (`_pieces.py`).

A restored crew, as CrewAI makes it, has forgotten where it wrote its checkpoints to and would go on in a directory of
that name. So what is laid out says nothing of checkpoints to this location, and the configuration that `restoring`
gives does. A model that is not one of CrewAI's own kinds cannot be restored by it; `PersistentCrew` needs no such thing
and is what to use where a crew only has to survive.

Pieces belong to the process that wrote them. Pruning drops those of ours that no checkpoint needs, and all of a process
that has no checkpoint left.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self
from urllib.parse import quote

from crewai.state.checkpoint_config import CheckpointConfig
from crewai.state.provider.json_provider import JsonProvider
from pydantic import BeforeValidator, PrivateAttr

from propagul import StoreError
from propagul_crewai import _pieces, _texts
from propagul_crewai._stores import Lease, Place, lent

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from propagul import AgentStateStore

CHECKPOINTS = "crewai/checkpoint/at/"
PIECES = "crewai/checkpoint/piece/"


class _Checkpoint(NamedTuple):
    """One checkpoint's row."""

    key: str
    root: object
    writer: str
    parent: str | None

    @property
    def name(self) -> str:
        """Its id."""
        return self.key.rpartition("/")[2]


class PropagulCheckpointProvider(JsonProvider):
    """Checkpoints that every machine of the room can restore: `CheckpointConfig(location="reports", provider=...)`.

    Attributes:
        conn_string: A directory, `memory://`, or `propagul://room@host:port`; or a store that is open.
        room: The room's name, where neither the string nor the directory says; then `agents`.
        durability: What a checkpoint that was written survives: `os`, `group`, `each` or `peers:n`.
    """

    conn_string: Annotated[str, BeforeValidator(lent)]
    room: str | None = None
    durability: str = "os"
    _lease: Lease = PrivateAttr()
    _writer: str = PrivateAttr()

    def __init__(
        self, conn_string: str | os.PathLike[str] | AgentStateStore | None = None, /, **fields: object
    ) -> None:
        """Name a store; `fields` are those above."""
        super().__init__(**fields if conn_string is None else fields | {"conn_string": conn_string})
        self._lease = Lease(Place(self.conn_string, self.room, self.durability))
        self._writer = uuid.uuid4().hex[:16]

    @property
    def store(self) -> AgentStateStore:
        """The store that this stands on, opened if it was not."""
        return self._lease.store

    def close(self) -> None:
        """Let go of the store; the last adapter to do so closes it. Idempotent."""
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what CrewAI calls ---------------------------------------------------------------------------------------

    def checkpoint(self, data: str, location: str, *, parent_id: str | None = None, branch: str = "main") -> str:
        """Write a checkpoint; return its own location, which is below `location`."""
        store, place = self._lease.store, self._pieces(location, self._writer)
        root = _pieces.pack(json.loads(data), lambda name, text: _put(store, place + name, text))
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}_{uuid.uuid4().hex[:8]}"
        row = {"root": json.loads(root), "writer": self._writer, "parent": parent_id, "at": time.time()}
        _texts.write(store, f"{_key(location, branch)}{name}", json.dumps(row))
        return f"{location}/{quote(branch, safe='')}/{name}"

    async def acheckpoint(self, data: str, location: str, *, parent_id: str | None = None, branch: str = "main") -> str:
        """See `checkpoint`."""
        return await asyncio.to_thread(self.checkpoint, data, location, parent_id=parent_id, branch=branch)

    def from_checkpoint(self, location: str) -> str:
        """The text of a checkpoint, by its own location.

        Raises:
            StoreError: There is none, or a part of it is missing.
        """
        outer, _, _ = _parted(location)
        found = self._found(location)
        value = _pieces.unpack(found.root, functools.partial(self._piece, outer, found.writer))
        return json.dumps(value)

    async def afrom_checkpoint(self, location: str) -> str:
        """See `from_checkpoint`."""
        return await asyncio.to_thread(self.from_checkpoint, location)

    def extract_id(self, location: str) -> str:
        """The id in a checkpoint's own location."""
        return location.rpartition("/")[2]

    def prune(self, location: str, max_keep: int, *, branch: str = "main") -> int:
        """Remove the oldest checkpoints of a branch but for the last `max_keep`; return how many those were."""
        store = self._lease.store
        gone = store.keys(_key(location, branch))
        gone = gone[: max(len(gone) - max_keep, 0)]
        for key in gone:
            _texts.remove(store, key)
        if gone:
            self._sweep(location)
        return len(gone)

    # --- what only this one has ----------------------------------------------------------------------------------

    def heads(self, location: str, branch: str = "main") -> list[str]:
        """The checkpoints that no other one goes on from, each by its own location, newest first.

        More than one where machines went on from the same place without knowing of each other.
        """
        every = self._every(_key(location, branch))
        parents = {checkpoint.parent for checkpoint in every}
        names = [checkpoint.name for checkpoint in every if checkpoint.name not in parents]
        return [f"{location}/{quote(branch, safe='')}/{name}" for name in reversed(names)]

    def materialize(self, location: str, directory: str | os.PathLike[str]) -> Path:
        """Write a checkpoint, by its own location, as a file that CrewAI restores from, and return its path.

        The file holds what the program said and heard: put it where nobody else reads, and remove it. It says nothing
        of checkpoints to where this one is: see the module.

        Raises:
            StoreError: As `from_checkpoint`.
        """
        outer, _, name = _parted(location)
        value = json.loads(self.from_checkpoint(location))
        _forget(value, outer)
        path = Path(directory) / f"{name}_p-{self._found(location).parent or 'none'}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    @contextlib.contextmanager
    def restoring(self, location: str, branch: str = "main", **config: object) -> Iterator[CheckpointConfig]:
        """`with provider.restoring("reports") as checkpoint: crew.kickoff(from_checkpoint=checkpoint)`.

        Goes on from the newest of `heads` and, when it has, writes further checkpoints here.

        Args:
            location: As in the configuration of the crew that wrote them.
            branch: Which branch of them.
            config: Other fields of `CheckpointConfig`.

        Raises:
            StoreError: There is no checkpoint, or a part of it is missing.
        """
        heads = self.heads(location, branch)
        if not heads:
            raise StoreError(f"there is no checkpoint at {location!r} on the branch {branch!r}")
        with tempfile.TemporaryDirectory(prefix="propagul-") as directory:
            path = self.materialize(heads[0], directory)
            yield CheckpointConfig(location=location, provider=self, restore_from=path, **config)

    # --- inside --------------------------------------------------------------------------------------------------

    def _found(self, location: str) -> _Checkpoint:
        outer, branch, name = _parted(location)
        key = f"{CHECKPOINTS}{quote(outer, safe='')}/{branch}/{name}"
        found = self._read(key)
        if found is None:
            raise StoreError(f"there is no checkpoint {name!r} at {outer!r}")
        return found

    def _every(self, prefix: str) -> list[_Checkpoint]:
        """The checkpoints below a key, oldest first."""
        rows = (self._read(key) for key in self._lease.store.keys(prefix))
        return [row for row in rows if row is not None]

    def _read(self, key: str) -> _Checkpoint | None:
        text = _texts.read(self._lease.store, key)
        if text is None:
            return None
        row = json.loads(text)
        return _Checkpoint(key, row["root"], row["writer"], row["parent"])

    def _pieces(self, location: str, writer: str) -> str:
        return f"{PIECES}{quote(location, safe='')}/{writer}/"

    def _piece(self, location: str, writer: str, name: str) -> str | None:
        return _texts.read(self._lease.store, self._pieces(location, writer) + name)

    def _sweep(self, location: str) -> None:
        """Remove the pieces that nothing needs: of ours one by one, of others if they have no checkpoint left."""
        store, needed, writers = self._lease.store, set[str](), {self._writer}
        ours = functools.partial(self._piece, location, self._writer)
        for checkpoint in self._every(f"{CHECKPOINTS}{quote(location, safe='')}/"):
            writers.add(checkpoint.writer)
            if checkpoint.writer == self._writer:
                needed.update(_pieces.references(checkpoint.root, ours))
        stem = f"{PIECES}{quote(location, safe='')}/"
        for key in store.keys(stem):
            writer, _, name = key.removeprefix(stem).partition("/")
            if writer not in writers or (writer == self._writer and name not in needed):
                _texts.remove(store, key)


def _put(store: AgentStateStore, key: str, text: str) -> None:
    if key not in store:
        _texts.write(store, key, text)


def _key(location: str, branch: str) -> str:
    return f"{CHECKPOINTS}{quote(location, safe='')}/{quote(branch, safe='')}/"


def _parted(location: str) -> tuple[str, str, str]:
    """Where a checkpoint is, its branch as it is quoted, and its id.

    Raises:
        ValueError: That is no checkpoint's own location.
    """
    parts = location.rsplit("/", 2)
    if len(parts) != 3:
        raise ValueError(f"{location!r} is not what `checkpoint` returned or `heads` gives")
    return parts[0], parts[1], parts[2]


def _forget(value: object, location: str) -> None:
    """Take every configuration of checkpoints to a location out of what a checkpoint holds."""
    match value:
        case dict():
            match value.get("checkpoint"):
                case {"location": str(written)} if written == location:
                    value["checkpoint"] = None
            for item in value.values():
                _forget(item, location)
        case list():
            for item in value:
                _forget(item, location)
