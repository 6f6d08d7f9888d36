"""One reading that may fail, without taking any other with it.

The seam where errors of drivers, of `/proc` and of the libraries over them end: a heartbeat must go out whatever a
sensor does. Each failure is logged, at debug level because the same sensor fails in every sample.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

T = TypeVar("T")


def reading(name: str, read: Callable[[], T]) -> T | None:
    """What `read` returns; None when it fails, whatever the reason."""
    try:
        return read()
    # supervisor: NVML raises classes of its own without a common base, psutil passes on what the system said
    except Exception as error:  # noqa: BLE001 - one sensor's failure, of any class, must not cost the others
        logger.debug("reading failed", extra={"reading": name, "error": type(error).__name__})
        return None


def clip(value: float, low: float, high: float) -> float:
    """`value` within `low` and `high`."""
    return min(max(value, low), high)
