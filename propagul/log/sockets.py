"""Where the Unix sockets of a state directory stand: outside it, in a private directory that a note in it names.

    state/sock/where     three lines: the boot, the state directory's device and inode, the private directory's path
    state/sock/<log id>  the socket of a process that cannot enter that private directory

What copies files stumbles over sockets, and copying the directory of a running store is a backup; and a Unix socket's
path is limited to about a hundred bytes, whatever the directory's own is. The private directory stands under the
system's temporary one. Its name is random, so that nobody can be there first, and owner and mode are checked at every
use, for what is temporary may have been swept away and made again by somebody else. A note counts only in the boot and
the directory it was made for, so that a copy never leads to the processes of the original.

A note that does not count is replaced by a process that is alone. While others are here it stands: they may have
another temporary directory (each container and some services have one), and two that took each other's note for stale
would replace it for ever. Who cannot use it listens in `state/sock`, which all of them see.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from propagul import _system
from propagul.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET_PATH_BYTES_MAX = 103
"""Longest path of a Unix socket everywhere: `sun_path` has 104 bytes on macOS and the BSDs, 108 on Linux, one a NUL."""

_NAME_BYTES: Final = 16


class SocketPlaces:
    """The directories that the sockets of one state directory may stand in. Call every method in the directory's turn.

    Args:
        own: `state/sock`; its parent is the state directory.
        is_alone: Says whether no other process has the directory open.
    """

    def __init__(self, own: Path, is_alone: Callable[[], bool]) -> None:
        self._own, self._note = own, own / "where"
        self._is_alone = is_alone

    def mine(self) -> Path:
        """Where this process listens, made if need be.

        Raises:
            StoreError: No path is short enough for a socket.
            OSError: The system refused.
        """
        if _system.WINDOWS:
            return self._own
        place = self._noted()
        if place is None:
            self.tidy()
            place = self._own if self._note.exists() else self._make()
        if len(os.fsencode(place)) + len("/") + _NAME_BYTES > SOCKET_PATH_BYTES_MAX:
            raise StoreError(f"{place} is too long a path for sockets; set TMPDIR to a shorter one")
        return place

    def find(self, name: str) -> Path | None:
        """Where the socket of this name stands; None if nowhere that we can see."""
        return next((place / name for place in self._all() if (place / name).exists()), None)

    def remove(self, name: str) -> None:
        """Remove what a process that is gone left there."""
        for place in self._all():
            with contextlib.suppress(OSError):
                (place / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Forget a note that does not count, unless others are here for whom it may."""
        if self._note.exists() and self._noted() is None and self._is_alone():
            self._note.unlink(missing_ok=True)

    def leave(self, names: list[str]) -> None:
        """Remove the private directory, if no other process is left that may use it, with what dead ones left there."""
        place = self._noted()
        if place is not None and self._is_alone():
            for name in names:
                self.remove(name)
            with contextlib.suppress(OSError):
                place.rmdir()
                self._note.unlink()

    def _all(self) -> list[Path]:
        noted = self._noted()
        return [self._own] if noted is None else [noted, self._own]

    def _noted(self) -> Path | None:
        """The directory that the note names, if it counts here."""
        try:
            *whose, path = self._note.read_bytes().split(b"\n", 2)
            place = Path(os.fsdecode(path))
            if whose == self._whose() and place.is_absolute() and _system.is_private_directory(place):
                return place
        except (FileNotFoundError, ValueError):  # a damaged note may hold no line or a NUL
            pass
        return None

    def _whose(self) -> list[bytes]:
        status = self._own.parent.stat()
        return [(_system.boot_id() or "").encode(), f"{status.st_dev}:{status.st_ino}".encode()]

    def _make(self) -> Path:
        made = Path(tempfile.mkdtemp(prefix="propagul-")).absolute()
        try:
            _system.write_private(self._note, b"\n".join([*self._whose(), os.fsencode(made)]))
        except BaseException:
            made.rmdir()
            raise
        return made
