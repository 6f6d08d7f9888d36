"""Figures over time, in slots of one length; a slot in which nothing was known is a gap and never a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fleet_app.history.figures import Figures

SLOTS_MAX: Final = 2000
NAMES_MAX: Final = 64


class Tier(NamedTuple):
    """One resolution that is kept.

    Attributes:
        step_s: Length of its slots.
        kept_s: For how long.
    """

    step_s: int
    kept_s: int


SECONDS, TENS = Tier(1, 15 * 60), Tier(10, 24 * 3600)
"""Of this box itself."""

MINUTES, FIVES = Tier(60, 24 * 3600), Tier(300, 90 * 24 * 3600)
"""Of every node; this one's minutes are made of its tens of seconds."""

OWN: Final = (SECONDS, TENS, FIVES)
OTHERS: Final = (MINUTES, FIVES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Figures of one node.

    Attributes:
        node: Its id.
        start_s: When the first slot begins, seconds since the epoch.
        step_s: Length of a slot.
        values: By name, one a slot; None where nothing is known.
    """

    node: str
    start_s: int
    step_s: int
    values: dict[str, list[float | None]]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"node": self.node, "start_s": self.start_s, "step_s": self.step_s, "values": self.values}


def tier_for(tiers: Sequence[Tier], start_s: float, step_s: float, now_s: float) -> Tier:
    """From which tier to read: the coarsest that is as fine as wanted and goes back far enough, else the next."""
    reaching = [tier for tier in tiers if now_s - start_s <= tier.kept_s] or [tiers[-1]]
    fine = [tier for tier in reaching if tier.step_s <= step_s]
    return fine[-1] if fine else reaching[0]


def step_for(tier: Tier, start_s: float, end_s: float, step_s: float) -> int:
    """The length of slots: a multiple of the tier's, with at most `SLOTS_MAX` of them."""
    wanted = max(step_s, (end_s - start_s) / (SLOTS_MAX - 1), tier.step_s)
    return -int(-wanted // tier.step_s) * tier.step_s


def slotted(
    node: str, samples: Iterable[tuple[int, Figures]], names: Sequence[str], *, span: tuple[float, float], step_s: int
) -> Series:
    """Samples as a series with a slot for each step, whatever their own step is. Without names, all that are found."""
    start_s, end_s = span
    first = int(start_s) // step_s * step_s
    count = max(0, min(SLOTS_MAX, -int(-(end_s - first) // step_s)))
    sums: dict[str, list[tuple[float, int]]] = {name: [(0.0, 0)] * count for name in names}
    for at, figures in samples:
        slot = (at - first) // step_s
        if not 0 <= slot < count:
            continue
        for name, value in figures.items():
            if name not in sums and not names and len(sums) < NAMES_MAX:
                sums[name] = [(0.0, 0)] * count
            if name in sums:
                total, seen = sums[name][slot]
                sums[name][slot] = (total + value, seen + 1)
    values = {name: [round(total / seen, 1) if seen else None for total, seen in slots] for name, slots in sums.items()}
    return Series(node=node, start_s=first, step_s=step_s, values=values)
