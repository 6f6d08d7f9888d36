"""Counters and sizes of a store, of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul.crdt import Evicted
from propagul.store._rows import live
from propagul.store._spaces import STATE
from propagul.store._targets import MeshCounters
from propagul.store._traffic import written_ahead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul.store._disk import Disk
    from propagul.store._namespace import Namespace
    from propagul.store._network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """Counters since the store was opened, and sizes now. Each field moves in a test.

    Attributes:
        keys: Keys that hold a value.
        conflicts: Keys with more than one sibling.
        removal_records: Rows that say a key was deleted.
        origins: Entries of the version vector; every start of every store adds one for ever.
        local_writes: `set` and `delete` calls that changed something.
        remote_rows: Rows received from peers, repeats included.
        refused_rows: Rows received that were not signed by whom they name as their author; left out.
        equivocations: Batches received that contradict another one of their author's: it tells different things to
            different members. Both are kept. Only with `verify="origin"`.
        recovered_records: Records read back from the event log at open.
        torn_bytes: Bytes cut from the log's tail at open, because the last write had not finished.
        links: Links open now.
        links_opened: Links opened so far.
        links_dropped: Links closed for a reason.
        last_drop: The newest such reason.
        dials_failed: Dials nobody answered, or the wrong party.
        refused: Strangers turned away at the port.
        frames_in: Frames received; likewise `frames_out`, `bytes_in` and `bytes_out` (before encryption).
        throttled_s: Seconds that frames waited because of `GossipConfig.bytes_per_s_max`, of all links together.
        callbacks_failed: `on_change` callbacks that raised.
        door: Which process of the directory listens and dials for it: `this process`, `process 123`, `nobody` for now;
            empty before `start` and where the directory is not shared.
        logs_adopted: Logs of processes that are gone, taken into this store's own.
        joins: Streams received that were snapshot joins, because this store had been away for long.
        skew_s: The furthest a received write was ahead of this machine's clock, seconds.
        quarantined: Keys whose value was written by a clock more than five minutes ahead; see `quarantined()`.
        siblings_trimmed: Keys that had more than 64 concurrent values, cut down to the newest of them.
        floors_raised: How often old removal records were dropped.
        compactions: How often the log was compacted.
        pending_bytes: Bytes of the log that are not known to be on the disk yet.
        evicted: Values that are not in memory but in the log alone; see `memory_bytes`.
        history_bytes: What is on the disk for `history` and `at` only; see `Retention`.
        retention: How far back that goes, as the directory says; empty without one.
    """

    keys: int
    conflicts: int
    removal_records: int
    origins: int
    local_writes: int
    remote_rows: int
    refused_rows: int
    equivocations: int
    recovered_records: int
    torn_bytes: int
    links: int
    links_opened: int
    links_dropped: int
    last_drop: str
    dials_failed: int
    refused: int
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    throttled_s: float
    callbacks_failed: int
    door: str
    logs_adopted: int
    joins: int
    skew_s: float
    quarantined: int
    siblings_trimmed: int
    floors_raised: int
    compactions: int
    pending_bytes: int
    evicted: int
    history_bytes: int
    retention: str


def measure(
    spaces: Mapping[str, Namespace],
    disk: Disk | None,
    network: Network | None,
    *,
    adopted: int,
    refused: int,
    callbacks_failed: int,
) -> StoreStats:
    """What a store is made of, counted. O(rows)."""
    state = spaces[STATE]
    census, traffic = _counted(state), state.traffic
    counters = MeshCounters() if network is None else network.mesh.counters
    recovery = None if disk is None else disk.log.recovery
    return StoreStats(
        keys=census.keys,
        conflicts=census.conflicts,
        removal_records=census.removal_records,
        origins=state.origins(),
        local_writes=state.local_writes,
        remote_rows=traffic.remote_rows,
        refused_rows=sum(space.traffic.refused_rows for space in spaces.values()),
        equivocations=traffic.equivocations,
        recovered_records=0 if recovery is None else recovery.records,
        torn_bytes=0 if recovery is None else recovery.torn_bytes,
        links=0 if network is None else len(network.linked()),
        links_opened=counters.links_opened,
        links_dropped=counters.links_dropped,
        last_drop=counters.last_drop,
        dials_failed=counters.dials_failed,
        refused=refused,
        frames_in=counters.frames_in,
        frames_out=counters.frames_out,
        bytes_in=counters.bytes_in,
        bytes_out=counters.bytes_out,
        throttled_s=counters.throttled_s,
        callbacks_failed=callbacks_failed,
        door="" if network is None else network.door,
        logs_adopted=adopted,
        joins=traffic.joins,
        skew_s=traffic.skew_s,
        quarantined=census.quarantined,
        siblings_trimmed=traffic.siblings_trimmed,
        floors_raised=traffic.floors_raised,
        compactions=0 if disk is None else disk.compactions,
        pending_bytes=0 if disk is None else disk.log.pending_bytes,
        evicted=census.evicted,
        history_bytes=0 if disk is None else disk.archive.bytes,
        retention="" if disk is None else str(disk.retention),
    )


@dataclass(slots=True)
class _Census:
    """See `StoreStats`."""

    keys: int = 0
    conflicts: int = 0
    removal_records: int = 0
    quarantined: int = 0
    evicted: int = 0


def _counted(state: Namespace) -> _Census:
    census, credible = _Census(), state.newest_credible
    for block in state.blocks():
        rows = [row for _, row in block.other]
        census.keys += sum(1 for _ in live([block], ""))
        census.conflicts += sum(len(row.siblings) > 1 for row in rows)
        census.removal_records += sum(not row.siblings for row in rows)
        census.quarantined += len(written_ahead(block, credible))
        census.evicted += sum(isinstance(payload, Evicted) for _, payload, _, _, _ in block.plain)
        census.evicted += sum(isinstance(sibling.payload, Evicted) for row in rows for sibling in row.siblings)
    return census
