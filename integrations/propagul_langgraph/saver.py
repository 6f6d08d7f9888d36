"""`PropagulSaver`: LangGraph's checkpointer over a replicated store.

One class, sync and async: what a call does is a few local writes, so the async half calls the sync one. What must wait,
for the disk or for other machines, waits here and after the writes. Nothing here knows how rows look: see
`_saver`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from propagul import AgentStateStore, connect
from propagul.adapters import in_thread
from propagul_langgraph._saver.checkpoints import Checkpoints, ThreadName
from propagul_langgraph._saver.history import delta_history
from propagul_langgraph._saver.lifetimes import Lifetimes
from propagul_langgraph._saver.listing import Listing
from propagul_langgraph._saver.removal import Removal
from propagul_langgraph._saver.values import Values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, DeltaChannelHistory
    from langgraph.checkpoint.serde.base import SerializerProtocol

    from propagul import Connection, StoreOptions

_T = TypeVar("_T")
ROOT: Final = "lg/"
DAY_S: Final = 86_400.0
_NOTHING_FOLLOWS: Final = frozenset((*WRITES_IDX_MAP, "__return__"))
"""Channels whose writes may be the last that is stored of a run: of interrupts, errors, results of functions."""

_log = logging.getLogger("propagul.langgraph")


class PropagulSaver(BaseCheckpointSaver[int]):
    """Threads that survive crashes and machines.

    Args:
        store: A store; it may be open elsewhere, too. Before it is started, threads are kept on this machine only.
        serde: How values become bytes. By default strict: of classes only those that LangGraph calls safe, and those of
            the graph's own state, are made again from bytes; pass a serde to allow others or to encrypt.
        replicas: A put returns when so many other machines have logged it, or raises `NotReplicated`.
        replicas_timeout_s: How long it waits for them.
        ttl: `{"default_ttl": minutes, "refresh_on_read": bool}`: how long a thread lives after it was last used.
        prune_grace_s: How long content stays that nothing refers to any more: longer than machines are cut off that go
            on from a checkpoint which is pruned meanwhile.
        root: How the keys of its rows begin; savers with different ones do not see each other's threads.
    """

    def __init__(
        self,
        store: AgentStateStore,
        *,
        serde: SerializerProtocol | None = None,
        replicas: int = 0,
        replicas_timeout_s: float = 10.0,
        ttl: Mapping[str, float | bool] | None = None,
        prune_grace_s: float = DAY_S,
        root: str = ROOT,
    ) -> None:
        super().__init__(serde=serde or JsonPlusSerializer(allowed_msgpack_modules=None))
        self.store, self._replicas, self._replicas_timeout_s = store, replicas, replicas_timeout_s
        self._checkpoints = Checkpoints(store, root)
        self._listing = Listing(self._checkpoints)
        self._removal = Removal(self._checkpoints, prune_grace_s)
        self._lifetimes = Lifetimes(self._checkpoints.rows, root, ttl, self._removal.delete)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        serde: SerializerProtocol | None = None,
        replicas: int = 0,
        ttl: Mapping[str, float | bool] | None = None,
        **options: Unpack[StoreOptions],
    ) -> Connection[PropagulSaver]:
        """Open a store for a saver: for `with`, and for `async with`.

        The text is a directory, which any number of processes of this machine share; `memory://`; or
        `propagul://room@host:port,...?secret_file=...&path=...`, peers of a room. Options are the store's, such as
        `durability="group"`; for the others see the class.
        """
        return connect(conn_string, lambda store: cls(store, serde=serde, replicas=replicas, ttl=ttl), **options)

    def setup(self) -> None:
        """Nothing: there are no tables to be made. For programs that call it for every saver."""

    async def asetup(self) -> None:
        """See `setup`."""

    # --- reading -------------------------------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint a config names, or the latest of its thread and namespace; None if there is none.

        The latest follows causality first, and the id among checkpoints of which neither's author saw the other.

        Raises:
            MissingContent: The checkpoint that is named is not here whole.
        """
        name = _thread(config)
        self._lifetimes.read(name.thread_id)
        if not (checkpoint_id := get_checkpoint_id(config)):
            return self._checkpoints.newest(self.serde, name)
        place = self._checkpoints.threads.place(*name)
        spot = self._checkpoints.threads.find(place, checkpoint_id)
        return spot and self._checkpoints.load(self.serde, place, name, spot)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the interface's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints of a thread, or of all, newest first. See `BaseCheckpointSaver.list`."""
        self._lifetimes.sweep_if_due()
        return self._listing.checkpoints(self.serde, config, filter, before, limit)

    def heads(self, thread_id: str, checkpoint_ns: str = "") -> Sequence[RunnableConfig]:
        """Configs of the checkpoints that nothing goes on from; the first is what `get_tuple` returns.

        More than one: the thread was resumed in several places at the same time, each not knowing of the others.
        """
        name = ThreadName(str(thread_id), checkpoint_ns)
        return [
            name.config(spot.id) for spot in self._checkpoints.threads.heads(self._checkpoints.threads.place(*name))
        ]

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are rebuilt from. See `BaseCheckpointSaver.get_delta_channel_history`."""
        threads = self._checkpoints.threads
        place, checkpoint_id = threads.place(*_thread(config)), get_checkpoint_id(config)
        spot = threads.find(place, checkpoint_id) if checkpoint_id else threads.latest(place)
        return delta_history(self._checkpoints, Values(self._checkpoints.content, place, self.serde), spot, channels)

    # --- writing -------------------------------------------------------------------------------------------------

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; what it survives when this has returned is the store's durability, and `replicas`.

        One that goes on from a thread which was deleted meanwhile is not stored.

        Raises:
            NotReplicated: It is stored, and fewer machines than `replicas` have logged it in time.
            LocalProtocolError: It would have to wait, in the thread of the event loop that the store runs in.
            StoreFull, StoreError: The log took it not; the thread is as it was.
        """
        self._check_may_wait()
        stored = self._put(config, checkpoint, metadata, new_versions)
        self._wait()
        return stored

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote, on its checkpoint; raises what `put` does.

        What the step's own checkpoint follows is waited for with that; interrupts, errors and results here.
        """
        self._check_may_wait()
        if self._put_writes(config, writes, task_id, task_path):
            self._wait()

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread for good: what is written late, on any machine, does not bring it back.

        A run without a parent checkpoint begins the thread anew.
        """
        self._check_may_wait()
        self._removal.delete(str(thread_id))
        self._wait()

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs, by the `run_id` of their metadata. O(all checkpoints)."""
        self._check_may_wait()
        self._removal.delete_for_runs(self.serde, run_ids)
        self._wait()

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every checkpoint of a thread with all it refers to."""
        self._check_may_wait()
        self._removal.copy(str(source_thread_id), str(target_thread_id))
        self._wait()

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete threads (`delete`), or all of them but their heads and what a delta channel of those needs.

        Content that nothing refers to any more goes with the first pruning after `prune_grace_s`.
        """
        self._check_may_wait()
        self._removal.prune(self.serde, [str(thread_id) for thread_id in thread_ids], strategy)
        self._wait()

    def sweep_ttl(self) -> int:
        """Delete the threads that have expired; return how many. Happens by itself now and then, as others are used.

        Also removes, with or without lifetimes, what machines wrote of threads that had been deleted elsewhere: it is
        never shown, and takes room until then.
        """
        self._check_may_wait()
        self._removal.sweep_late()
        swept = self._lifetimes.sweep()
        self._wait()
        return swept

    def get_next_version(self, current: int | None, channel: None) -> int:  # noqa: ARG002 - the interface
        """One more than the former version, also of another saver's (`"00012.0.5"`)."""
        return int(str(current).partition(".")[0] or 0) + 1 if current is not None else 1

    # --- the same for event loops --------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the interface's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        for found in self.list(config, filter=filter, before=before, limit=limit):
            yield found

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See `get_delta_channel_history`."""
        return self.get_delta_channel_history(config=config, channels=channels)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `put`."""
        stored = await self._aside(self._put, config, checkpoint, metadata, new_versions)
        await self._wait_aside()
        return stored

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `put_writes`."""
        if await self._aside(self._put_writes, config, writes, task_id, task_path):
            await self._wait_aside()

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        await self._long(self._removal.delete, str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `delete_for_runs`."""
        await self._long(self._removal.delete_for_runs, self.serde, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        await self._long(self._removal.copy, str(source_thread_id), str(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """See `prune`."""
        await self._long(self._removal.prune, self.serde, [str(thread) for thread in thread_ids], strategy)

    # --- inside --------------------------------------------------------------------------------------------------

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        name, checkpoint_id = _thread(config), checkpoint["id"]
        if not self._checkpoints.put(
            self.serde,
            name,
            get_checkpoint_id(config),
            checkpoint=checkpoint,
            metadata=get_checkpoint_metadata(config, metadata),
            new_versions=new_versions,
        ):
            _log.info("saver.late_put_dropped thread=%r: it was deleted", name.thread_id)
        self._lifetimes.used(name.thread_id)
        return name.config(checkpoint_id)

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> bool:
        """Store writes; return whether they are to be waited for."""
        name, on = _thread(config), str(config["configurable"]["checkpoint_id"])
        if not self._checkpoints.put_writes(self.serde, name, on, task_id=task_id, task_path=task_path, writes=writes):
            _log.info("saver.late_writes_dropped thread=%r: it was deleted", name.thread_id)
        return not _NOTHING_FOLLOWS.isdisjoint([channel for channel, _ in writes])

    def _check_may_wait(self) -> None:
        """Refuse before anything is written, if it would have to wait where nobody may."""
        if self._replicas or self.store.waits:
            self.store.check_may_wait()

    def _wait(self) -> None:
        if self.store.waits:
            self.store.settle()
        if self._replicas:
            self.store.flush_blocking(self._replicas, timeout_s=self._replicas_timeout_s, disk=False)

    async def _wait_aside(self) -> None:
        if self.store.waits:
            await in_thread(self.store.settle)
        if self._replicas:
            await self.store.flush(self._replicas, timeout_s=self._replicas_timeout_s, disk=False)

    async def _aside(self, write: Callable[..., _T], *arguments: Any) -> _T:  # noqa: ANN401 - whatever it takes
        """Write without holding up the event loop, which the disk might."""
        return await in_thread(lambda: write(*arguments)) if self.store.waits else write(*arguments)

    async def _long(self, write: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - whatever it takes
        """Do in a thread what takes long, and wait for what it wrote."""
        await in_thread(lambda: write(*arguments))
        await self._wait_aside()


def _thread(config: RunnableConfig) -> ThreadName:
    configurable = config["configurable"]
    return ThreadName(str(configurable["thread_id"]), str(configurable.get("checkpoint_ns") or ""))
