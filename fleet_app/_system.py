"""What differs between operating systems, for the fleet: signals and ending at once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_STOP = (signal.SIGINT, signal.SIGTERM)


def on_stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` at the first Ctrl-C or SIGTERM; end the process at once at the second.

    The node has no children, so nothing is left behind. Where loops know no signal handlers (Windows), Ctrl-C reaches
    the loop as KeyboardInterrupt instead.
    """
    received = 0

    def receive() -> None:
        nonlocal received
        received += 1
        if received > 1:
            os._exit(1)
        stop()

    for number in _STOP:
        try:
            loop.add_signal_handler(number, receive)
        except NotImplementedError:
            return
