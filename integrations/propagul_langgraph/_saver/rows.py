"""What stands in the rows of checkpoints and of what was written to them, as bytes and back.

Rows come from other machines: a form that this version does not know is refused by name, never guessed at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import ormsgpack

from propagul import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from propagul_langgraph._saver.content import Ref

    Channels = Mapping[str, tuple[str | int | float, Ref | None]]

_FORM: Final = 1


class Spot(NamedTuple):
    """Where a checkpoint stands in its namespace: later ones are larger."""

    seq: int
    id: str


class CheckpointRow(NamedTuple):
    """A checkpoint.

    Attributes:
        parent: The one it goes on from.
        over: Others that its author saw and that it replaces as the latest.
        names: Of thread and namespace, where their parts of the key are hashes.
        rest: Reference to what is left of the checkpoint, and its metadata.
        channels: Version and reference of each channel; None where it holds nothing.
    """

    parent: Spot | None
    over: Sequence[Spot]
    names: tuple[str, str] | None
    rest: Ref
    channels: Channels


class Write(NamedTuple):
    """One write of a task to a channel."""

    channel: str
    ref: Ref


class TaskWrites(NamedTuple):
    """What one task wrote to a checkpoint, by index: see `WRITES_IDX_MAP` for those below zero."""

    task_id: str
    task_path: str
    writes: dict[int, Write]


def pack_checkpoint(row: CheckpointRow) -> bytes:
    """The bytes of a checkpoint."""
    parent, over = row.parent and tuple(row.parent), [tuple(spot) for spot in row.over]
    return ormsgpack.packb([_FORM, parent, over, row.names, row.rest, row.channels])


def unpack_checkpoint(key: str, value: object) -> CheckpointRow:
    """The inverse.

    Raises:
        StoreCorrupt: It is none that this version can read.
    """
    row = _unpacked(key, value)
    try:
        form, parent, over, names, rest, channels = cast("list[Any]", row)
        if form != _FORM:
            raise _unknown(key)
        return CheckpointRow(
            None if parent is None else _spot(parent),
            [_spot(spot) for spot in over],
            None if names is None else (str(names[0]), str(names[1])),
            rest,
            {str(name): (version, ref) for name, (version, ref) in channels.items()},
        )
    except (ValueError, TypeError, AttributeError, IndexError):
        raise _unknown(key) from None


def pack_writes(task: TaskWrites) -> bytes:
    """The bytes of what a task wrote."""
    return ormsgpack.packb([_FORM, task.task_id, task.task_path, [[at, *write] for at, write in task.writes.items()]])


def unpack_writes(key: str, value: object) -> TaskWrites:
    """The inverse.

    Raises:
        StoreCorrupt: It is nothing that this version can read.
    """
    row = _unpacked(key, value)
    try:
        form, task_id, task_path, writes = cast("list[Any]", row)
        if form != _FORM:
            raise _unknown(key)
        found = {int(at): Write(str(channel), ref) for at, channel, ref in writes}
        return TaskWrites(str(task_id), str(task_path), found)
    except (ValueError, TypeError):
        raise _unknown(key) from None


def joined(siblings: Sequence[TaskWrites]) -> TaskWrites:
    """Writes that were made at the same time on several machines, newest first, as all machines see them.

    Of ordinary writes the first one counts, as it does on one machine; of special ones the last.
    """
    writes: dict[int, Write] = {}
    for task in siblings:
        for at, write in task.writes.items():
            if at >= 0 or at not in writes:
                writes[at] = write
    return siblings[0]._replace(writes=writes)


def _spot(value: Any) -> Spot:  # noqa: ANN401 - from another machine
    seq, checkpoint_id = value
    return Spot(int(seq), str(checkpoint_id))


def _unpacked(key: str, value: object) -> object:
    if type(value) is not bytes:
        raise _unknown(key)
    try:
        return ormsgpack.unpackb(value)
    except ValueError:
        raise _unknown(key) from None


def _unknown(key: str) -> StoreCorrupt:
    return StoreCorrupt(f"the row {key!r} is in a form that this version cannot read")
