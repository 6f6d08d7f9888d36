"""A thread for what waits for a disk: started when first needed, one call after the other, none pending twice."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Worker:
    """Runs calls in a thread of its own. They must not raise."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._ended = False

    def do(self, call: Callable[[], None]) -> None:
        """Run a call soon, unless it is waiting to be run already. Never waits; nothing happens after `end`."""
        with self._changed:
            if self._ended or call in self._calls:
                return
            self._calls.append(call)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Drop what is waiting and return when the call that runs has ended. Idempotent."""
        with self._changed:
            self._ended = True
            self._calls.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._calls and not self._ended:
                self._changed.wait()
            return self._calls.popleft() if self._calls else None
