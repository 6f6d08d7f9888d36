"""Checkpoints and writes: from what the graph hands over to rows, and back.

The rule of this file: content first, the row that refers to it last. So a checkpoint that is there is whole, on this
machine after a crash and on every other one (but where content came from a third machine: then it is passed over until
that has arrived).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from langgraph.checkpoint.base import WRITES_IDX_MAP, Checkpoint, CheckpointTuple, writes_sort_key

from propagul_langgraph._saver.content import PIECE_BYTES, Content, MissingContent
from propagul_langgraph._saver.keys import part
from propagul_langgraph._saver.lists import NOTHING, is_split
from propagul_langgraph._saver.own import OwnRows
from propagul_langgraph._saver.rows import CheckpointRow, Spot, TaskWrites, Write, joined, pack_writes, unpack_writes
from propagul_langgraph._saver.threads import Threads, names_of
from propagul_langgraph._saver.values import Values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, CheckpointMetadata
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from propagul import AgentStateStore
    from propagul_langgraph._saver.keys import Place
    from propagul_langgraph._saver.lists import ListVersion
    from propagul_langgraph._saver.rows import Channels

_REMEMBERED: Final = 64
"""Checkpoints that are at hand, so that what does not change in the next one is not serialised again."""

_ELSEWHERE: Final = frozenset({"channel_values", "channel_versions", "id"})
"""What of a checkpoint stands in the row and its key by itself."""


class ThreadName(NamedTuple):
    """A namespace of a thread, as the graph calls it."""

    thread_id: str
    namespace: str

    def config(self, checkpoint_id: str) -> RunnableConfig:
        """The config that names one of its checkpoints."""
        names = {"thread_id": self.thread_id, "checkpoint_ns": self.namespace, "checkpoint_id": checkpoint_id}
        return {"configurable": names}


class Loaded(NamedTuple):
    """A checkpoint as it was written or read here: what the next one can share with it."""

    spot: Spot
    channels: Channels
    lists: Mapping[str, ListVersion]


_UNKNOWN: Final = Loaded(Spot(0, ""), {}, {})


class Checkpoints:
    """The checkpoints of a store. Savers with serdes of their own share one.

    Args:
        store: Where they are.
        root: How all keys begin.
    """

    def __init__(self, store: AgentStateStore, root: str) -> None:
        self.rows = OwnRows(store)
        self.threads = Threads(self.rows, root)
        self.content = Content(self.rows)
        self.lock = threading.RLock()
        self._loaded: OrderedDict[tuple[Place, str], Loaded] = OrderedDict()

    # --- writing -------------------------------------------------------------------------------------------------

    def put(
        self,
        serde: SerializerProtocol,
        name: ThreadName,
        parent_id: str | None,
        *,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> bool:
        """Store a checkpoint; False, and nothing is, if it goes on from what was deleted."""
        with self.lock:
            place = self.threads.place_of(name.thread_id, name.namespace, parent_id, metadata.get("parents"))
            if place is None:
                self.threads.remember_dead(name.thread_id, name.namespace, checkpoint["id"])
                return False
            values, latest = Values(self.content, place, serde), self.threads.latest(place)
            parent = self._spot_of(place, parent_id) if parent_id else None
            again = self._loaded.get((place, checkpoint["id"]))
            spot = again.spot if again else Spot((latest.seq if latest else 0) + 1, checkpoint["id"])
            channels, lists = self._put_channels(values, parent, checkpoint, new_versions)
            rest = {field: value for field, value in checkpoint.items() if field not in _ELSEWHERE}
            row = CheckpointRow(
                parent=parent or (Spot(0, parent_id) if parent_id else None),
                over=self._over(place, latest, parent, spot),
                names=names_of(*name),
                rest=values.put([rest, metadata], inline=PIECE_BYTES // 4),
                channels=channels,
            )
            self.threads.put(place, spot, row)
            self._remember(place, Loaded(spot, channels, lists))
            if parent is not None:
                self._loaded.pop((place, parent.id), None)
            return True

    def put_writes(
        self,
        serde: SerializerProtocol,
        name: ThreadName,
        checkpoint_id: str,
        *,
        task_id: str,
        task_path: str,
        writes: Sequence[tuple[str, object]],
    ) -> bool:
        """Store what a task wrote to a checkpoint; False, and nothing is, if that was deleted."""
        with self.lock:
            place = self.threads.place_of(name.thread_id, name.namespace, checkpoint_id, None)
            if place is None:
                return False
            values, key = Values(self.content, place, serde), place.writes(checkpoint_id) + part(task_id)
            held = self._task_writes(key)
            merged = dict(held.writes) if held else {}
            for position, (channel, value) in enumerate(writes):
                at = WRITES_IDX_MAP.get(channel, position)
                if at < 0 or at not in merged:
                    merged[at] = Write(channel, values.put_write(value))
            self.rows.set(key, pack_writes(TaskWrites(task_id, task_path, merged)))
            return True

    def _put_channels(
        self, values: Values, parent: Spot | None, checkpoint: Checkpoint, new_versions: ChannelVersions
    ) -> tuple[Channels, Mapping[str, ListVersion]]:
        """Store the channels that are new, and refer to the others as the parent does."""
        before = self._loaded_at(values.place, parent) if parent else _UNKNOWN
        channels: dict[str, tuple[str | int | float, Any]] = {}
        lists: dict[str, ListVersion] = {}
        given = checkpoint["channel_values"]
        for name, version in checkpoint["channel_versions"].items():
            former = before.channels.get(name)
            if name not in new_versions and former is not None and former[0] == version:
                channels[name] = former
                if name in before.lists:
                    lists[name] = before.lists[name]
            elif name not in given:
                channels[name] = version, None
            elif not is_split(given[name]):
                channels[name] = version, values.put(given[name])
            else:
                earlier = before.lists.get(name) or (values.version(former[1]) if former else None)
                ref, lists[name] = values.put_list(earlier or NOTHING, given[name])
                channels[name] = version, ref
        return channels, lists

    def _over(self, place: Place, latest: Spot | None, parent: Spot | None, spot: Spot) -> Sequence[Spot]:
        """The latest checkpoint, if this one was made knowing it and does not go on from it."""
        if latest is None or latest in (parent, spot):
            return ()
        is_passed = parent is None or self.threads.descends(place, latest, parent)
        return (latest,) if is_passed else ()

    # --- reading -------------------------------------------------------------------------------------------------

    def newest(self, serde: SerializerProtocol, name: ThreadName) -> CheckpointTuple | None:
        """The latest checkpoint that is here whole.

        Raises:
            MissingContent: None is.
        """
        place = self.threads.place(*name)
        if (spot := self.threads.latest(place)) is None:
            return None
        try:
            return self.load(serde, place, name, spot)
        except MissingContent as missing:
            return self._older(serde, place, name, missing)

    def _older(
        self, serde: SerializerProtocol, place: Place, name: ThreadName, missing: MissingContent
    ) -> CheckpointTuple | None:
        for spot in self.threads.spots(place)[1:]:
            try:
                return self.load(serde, place, name, spot)
            except MissingContent:
                continue
        raise missing

    def load(self, serde: SerializerProtocol, place: Place, name: ThreadName, spot: Spot) -> CheckpointTuple | None:
        """The checkpoint that stands there; None if none does.

        Raises:
            MissingContent: Some of it is not here.
            StoreCorrupt: This version cannot read it.
        """
        row = self.threads.row(place, spot)
        return None if row is None else self.made(Values(self.content, place, serde), name, spot, row)

    def made(self, values: Values, name: ThreadName, spot: Spot, row: CheckpointRow) -> CheckpointTuple:
        """The checkpoint of a row; raises what `load` does."""
        rest, metadata = rest_of(values, row)
        given: dict[str, object] = {}
        lists: dict[str, ListVersion] = {}
        for channel, (_, ref) in row.channels.items():
            if ref is None:
                continue
            if (version := values.version(ref)) is None:
                given[channel] = values.get(ref)
            else:
                given[channel], lists[channel] = values.get_list(version)
        with self.lock:
            self.threads.remember(values.place, spot)
            self._remember(values.place, Loaded(spot, row.channels, lists))
        versions = {channel: version for channel, (version, _) in row.channels.items()}
        return CheckpointTuple(
            config=name.config(spot.id),
            checkpoint=cast(
                "Checkpoint", {**rest, "id": spot.id, "channel_values": given, "channel_versions": versions}
            ),
            metadata=metadata,
            parent_config=name.config(row.parent.id) if row.parent else None,
            pending_writes=self._pending(values, spot.id),
        )

    def tasks(self, place: Place, checkpoint_id: str) -> list[TaskWrites]:
        """What each task wrote to a checkpoint."""
        found = (self._task_writes(key) for key in self.rows.keys(place.writes(checkpoint_id)))
        return [task for task in found if task is not None]

    def writes(self, place: Place, checkpoint_id: str) -> list[tuple[str, Write]]:
        """The id of a task and what it wrote, in the order in which reducers must see it."""
        found = [
            (writes_sort_key(task.task_path, task.task_id, at), task.task_id, write)
            for task in self.tasks(place, checkpoint_id)
            for at, write in task.writes.items()
        ]
        return [(task_id, write) for _, task_id, write in sorted(found, key=lambda one: one[0])]

    def _pending(self, values: Values, checkpoint_id: str) -> list[tuple[str, str, object]]:
        ordered = self.writes(values.place, checkpoint_id)
        return [(task_id, write.channel, values.get(write.ref)) for task_id, write in ordered]

    def _task_writes(self, key: str) -> TaskWrites | None:
        siblings = self.rows.siblings(key)
        return joined([unpack_writes(key, sibling) for sibling in siblings]) if siblings else None

    # --- what is at hand -----------------------------------------------------------------------------------------

    def _spot_of(self, place: Place, checkpoint_id: str) -> Spot | None:
        loaded = self._loaded.get((place, checkpoint_id))
        return self.threads.find(place, checkpoint_id) if loaded is None else loaded.spot

    def _loaded_at(self, place: Place, spot: Spot) -> Loaded:
        if (loaded := self._loaded.get((place, spot.id))) is not None:
            return loaded
        row = self.threads.row(place, spot)
        return Loaded(spot, {} if row is None else row.channels, {})

    def _remember(self, place: Place, loaded: Loaded) -> None:
        self._loaded[place, loaded.spot.id] = loaded
        self._loaded.move_to_end((place, loaded.spot.id))
        if len(self._loaded) > _REMEMBERED:
            self._loaded.popitem(last=False)

    def forget(self, place: Place) -> None:
        """Nothing of a generation is at hand any more."""
        for held in [held for held in self._loaded if held[0].content == place.content]:
            self._loaded.pop(held, None)
        self.content.forget(place)


def rest_of(values: Values, row: CheckpointRow) -> tuple[dict[str, Any], CheckpointMetadata]:
    """What of a checkpoint is not in its channels, and its metadata."""
    rest, metadata = cast("tuple[dict[str, Any], CheckpointMetadata]", values.get(row.rest))
    return rest, metadata
