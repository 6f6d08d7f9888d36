"""A cap on what one store sends in all, so that no loop of retries can fill an uplink: a token bucket."""

from __future__ import annotations


class RateCap:
    """Says how long to wait before sending. Pure: time comes in.

    Args:
        bytes_per_s: Sent on average at most. A second's worth may go at once after a pause.
    """

    __slots__ = ("_bytes_per_s", "_free_at")

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = float("-inf")

    def take(self, size: int, now: float) -> float:
        """Account for `size` bytes; return how many seconds to wait before they go."""
        self._free_at = max(self._free_at, now - 1.0) + size / self._bytes_per_s
        return max(0.0, self._free_at - now)
