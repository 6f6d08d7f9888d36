"""Syncs of files, counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from propagul import _system

if TYPE_CHECKING:
    import pytest


class CountedSyncs:
    """Syncs of files, counted; they may be held up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()
        self._sync = _system.sync_contents
        monkeypatch.setattr(_system, "sync_contents", self)

    def __call__(self, descriptor: int) -> None:
        self.gate.wait(20)
        self.count += 1
        self._sync(descriptor)
