"""`PropagulCheckpointProvider`: CrewAI's checkpoints in a replicated store. Experimental.

CrewAI takes two kinds of providers and no third, so this one is of the kind that writes JSON files, as far as CrewAI
can see. It restores from files only: `restoring` lays one out for as long as that takes. A checkpoint is all that a
program holds, most of it as it was in the one before; what is the same is stored once, see `Pieces`.

A restored crew, as CrewAI makes it, has forgotten where it wrote its checkpoints to and would go on in a directory of
that name. So what is laid out says nothing of checkpoints to this location, and the configuration that `restoring`
gives does. A model that is not one of CrewAI's own kinds cannot be restored by it; `PersistentCrew` needs no such thing
and is what to use where a crew only has to survive.

Pieces belong to the process that wrote them. Pruning drops those of ours that no checkpoint needs, and all of a process
that has no checkpoint left.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from crewai.state.checkpoint_config import CheckpointConfig
from crewai.state.provider.json_provider import JsonProvider
from pydantic import ConfigDict, PrivateAttr

from propagul import StoreError
from propagul.adapters import Pieces, asynchronous, printed
from propagul_crewai._stores import OnNamedStore, texts_in

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKPOINTS = "crewai/checkpoint/at/"
PIECES = "crewai/checkpoint/piece/"


class _Checkpoint(NamedTuple):
    """One checkpoint's row."""

    key: str
    root: str
    writer: str
    parent: str | None

    @property
    def name(self) -> str:
        """Its id."""
        return self.key.rpartition("/")[2]


class PropagulCheckpointProvider(OnNamedStore, JsonProvider):
    """Checkpoints that every machine of the room can restore: `CheckpointConfig(location="reports", provider=...)`."""

    model_config = ConfigDict(extra="forbid")  # or a durability that is misspelt would be none
    _name: str = PrivateAttr(default_factory=lambda: uuid.uuid4().hex[:16])
    _writing: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    # --- what CrewAI calls ---------------------------------------------------------------------------------------

    def checkpoint(self, data: str, location: str, *, parent_id: str | None = None, branch: str = "main") -> str:
        """Write a checkpoint; return its own location, which is below `location`."""
        name, writer = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}_{uuid.uuid4().hex[:8]}", self._writer
        with self._writing:  # or what is found to be there could be pruned before it is named
            root = self._pieces(location, writer).taken(json.loads(data))
            row = {"root": root, "writer": writer, "parent": parent_id, "at": time.time()}
            texts_in(self.store).put(f"{_key(location, branch)}{name}", printed(row))
        return f"{location}/{quote(branch, safe='')}/{name}"

    def from_checkpoint(self, location: str) -> str:
        """The text of a checkpoint, by its own location.

        Raises:
            StoreError: There is none, or a part of it is missing.
        """
        found = self._found(location)
        try:
            return json.dumps(self._pieces(_parted(location)[0], found.writer).whole(found.root))
        except LookupError:
            raise StoreError("a part of this checkpoint is not here: somebody pruned while it was written") from None
        except (ValueError, RecursionError):
            raise StoreError("a checkpoint holds what this version cannot read") from None

    acheckpoint, afrom_checkpoint = asynchronous(checkpoint), asynchronous(from_checkpoint)

    def extract_id(self, location: str) -> str:
        """The id in a checkpoint's own location."""
        return location.rpartition("/")[2]

    def prune(self, location: str, max_keep: int, *, branch: str = "main") -> int:
        """Remove the oldest checkpoints of a branch but for the last `max_keep`; return how many those were."""
        texts = texts_in(self.store)
        with self._writing:
            gone = self.store.keys(_key(location, branch))
            gone = gone[: max(len(gone) - max_keep, 0)]
            for key in gone:
                texts.remove(key)
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
        text = texts_in(self.store).get(key)
        if text is None:
            raise StoreError(f"there is no checkpoint {name!r} at {outer!r}")
        return _checkpoint(key, text)

    def _every(self, prefix: str) -> list[_Checkpoint]:
        """The checkpoints below a key, oldest first."""
        return [_checkpoint(key, text) for key, text in texts_in(self.store).items(prefix)]

    @property
    def _writer(self) -> str:
        """Whose pieces this process writes: also of one that was forked after this was made, its own."""
        return f"{self._name}-{os.getpid():x}"

    def _pieces(self, location: str, writer: str) -> Pieces:
        return Pieces(self.store, f"{PIECES}{quote(location, safe='')}/{writer}/", texts_in(self.store))

    def _sweep(self, location: str) -> None:
        """Remove the pieces that nothing needs: of ours one by one, of others if they have no checkpoint left."""
        every, own = self._every(f"{CHECKPOINTS}{quote(location, safe='')}/"), self._writer
        writers = {own, *(checkpoint.writer for checkpoint in every)}
        needed = self._pieces(location, own).names(found.root for found in every if found.writer == own)
        stem, texts = f"{PIECES}{quote(location, safe='')}/", texts_in(self.store)
        for key in self.store.keys(stem):
            writer, _, name = key.removeprefix(stem).partition("/")
            if writer not in writers or (writer == own and name not in needed):
                texts.remove(key)


def _checkpoint(key: str, text: str) -> _Checkpoint:
    row = json.loads(text)
    return _Checkpoint(key, row["root"], row["writer"], row["parent"])


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
