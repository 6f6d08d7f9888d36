"""A state directory: one room, one lock, one log, and what names them.

    state/
      room.json       which room this is; written once, checked at every open
      lock            held by the process that writes; its text is that process's id
      log/00000001.log ...

Opening a directory of another room is refused before anything is read, so that two rooms can never merge on disk.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from propagul import _system
from propagul.errors import StoreCorrupt, StoreError, StoreLocked
from propagul.log.event_log import EventLog

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


class StateDirectory:
    """A locked directory. Close it to let the next process in.

    Args:
        path: Made with its parents, private to the user, if it is not there.
        room: The room's name; must be the one the directory was made for.

    Raises:
        StoreLocked: Another process has it open; the message names the process.
        StoreError: It belongs to another room or a newer format, or cannot be written.
    """

    def __init__(self, path: Path, room: str) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (path / "log").mkdir(mode=0o700, exist_ok=True)
            self._lock = _system.open_private(path / "lock")
        except OSError as error:
            raise StoreError(f"the state directory {path} cannot be used: {error.strerror}") from error
        try:
            self._take_lock()
            self._check_room(room)
        except BaseException:
            os.close(self._lock)
            raise
        self.log = EventLog(path / "log")

    def close(self) -> None:
        """Close the log and release the directory. Idempotent."""
        try:
            self.log.close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _take_lock(self) -> None:
        if not _system.try_lock(self._lock):
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreLocked(f"{self.path} is in use by process {holder}; stop it or choose another directory")
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _check_room(self, room: str) -> None:
        label = self.path / "room.json"
        try:
            found = json.loads(label.read_text())
            known = found["room"], found["format"]
        except FileNotFoundError:
            _system.write_private(label, json.dumps({"room": room, "format": FORMAT}).encode())
            return
        except (ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"{label} is damaged: it must name the room and the format") from error
        if known[1] != FORMAT:
            raise StoreError(f"{self.path} has format {known[1]}; this version reads format {FORMAT}")
        if known[0] != room:
            raise StoreError(f"{self.path} holds the room {known[0]!r}, not {room!r}; rooms never merge")
