"""Who can be measured here, and how much work a run is."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import crew
from benchmarks.form import ROUNDS_QUICK
from benchmarks.gossip.goals import PACKAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(crew.Scale):
    """How much work a run is.

    Attributes:
        crowd: Nodes in virtual time.
        warmups: Writes of the author there and among real stores, before those that count.
        writes: Writes there that count.
        others: Writes there of authors who never wrote before.
        lossy: Writes there in bad times.
        silence_s: Virtual seconds there in which nothing is written.
        small: Keys of which one changes.
        changes: How often one does.
        large: Keys that a store joins to.
        companies: Real stores that are idle together, besides two.
        idle_s: Seconds in which they are looked at.
        quiet_s: Seconds without a new link before that. Above a pulse, so that what was said at first is forgotten.
        pulse_s: How often an idle link speaks; the default of `GossipConfig`, but in tests.
        per_s: Writes a virtual second beside a stalled peer.
        minutes: Virtual minutes of them.
        budget_s: Seconds after which no further one begins.
        events: Writes that a peer takes in.
        flushes: Writes that wait for a peer's log.
        stores: Real stores in one process.
        store_writes: Writes that reach them.
    """

    crowd: int = 10_000
    warmups: int = 15
    writes: int = 5
    others: int = 3
    lossy: int = 3
    silence_s: float = 30.0
    small: int = 10_000
    changes: int = 5
    large: int = 100_000
    companies: tuple[int, ...] = (3, 12, 30)
    idle_s: float = 60.0
    quiet_s: float = 25.0
    pulse_s: float = 10.0
    per_s: int = 1000
    minutes: int = 60
    budget_s: float = 120.0
    events: int = 100_000
    flushes: int = 500
    stores: int = 200
    store_writes: int = 50


FULL = Scale()
QUICK = Scale(
    rounds=ROUNDS_QUICK,
    crowd=500,
    warmups=5,
    writes=2,
    others=1,
    lossy=2,
    small=2000,
    changes=2,
    large=20_000,
    companies=(3,),
    idle_s=25.0,
    quiet_s=15.0,
    minutes=3,
    events=20_000,
    flushes=100,
    stores=24,
    store_writes=10,
)


class Crew(crew.Crew[Scale]):
    """Runs workloads, each contender's in its own interpreter."""

    packages = PACKAGES
