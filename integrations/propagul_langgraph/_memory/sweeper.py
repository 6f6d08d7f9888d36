"""A thread that calls something again and again, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import weakref
from concurrent.futures import Future
from typing import TYPE_CHECKING

from propagul import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("propagul.langgraph")


class Sweeper:
    """Calls a method every so often. The thread ends with its object, with what is swept, and with the program."""

    def __init__(self, sweep: Callable[[], int]) -> None:
        self._sweep = weakref.WeakMethod(sweep)
        self._thread: threading.Thread | None = None
        self._done: Future[None] = Future()
        self._stop = threading.Event()

    def start(self, interval_s: float) -> Future[None]:
        """Begin, unless it runs already. Cancelling what is returned stops it."""
        if self._thread is None or not self._thread.is_alive():
            stop, done = threading.Event(), Future[None]()
            self._stop, self._done = stop, done
            done.add_done_callback(lambda _: stop.set())
            arguments = (interval_s, stop, done)
            self._thread = threading.Thread(target=self._run, args=arguments, daemon=True, name="ttl-sweeper")
            self._thread.start()
        return self._done

    def stop(self, timeout_s: float | None) -> bool:
        """End it; return whether it has ended by then."""
        self._stop.set()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, interval_s: float, stop: threading.Event, done: Future[None]) -> None:
        while not stop.wait(interval_s) and (sweep := self._sweep()) is not None:
            try:
                if swept := sweep():
                    _log.info("store.swept items=%d", swept)
            except ClosedError:
                break
            except Exception:  # noqa: BLE001 # supervisor: the next sweep may work
                _log.exception("store.sweep_failed")
            del sweep  # or it would keep its object
        if done.set_running_or_notify_cancel():
            done.set_result(None)
