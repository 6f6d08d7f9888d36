"""A disk that cannot keep up: who writes waits for it, or is refused; who receives pauses the link."""

from __future__ import annotations

from typing import Protocol


class Pressure(Protocol):
    """Whether so much is on its way to the disk that a write must wait first."""

    is_pressing: bool

    def relieve(self, *, block: bool) -> None:
        """Wait until the disk has caught up, or refuse.

        Raises:
            StoreBusy: Too much is pending, and `block` is false.
            StoreError: The disk refused.
        """


class NoPressure:
    """Of a store without a disk."""

    is_pressing = False

    def relieve(self, *, block: bool) -> None:
        """Nothing is pending."""
