"""Where the Unix sockets of a state directory stand, however long its path is.

A Unix socket's path is limited to about a hundred bytes. Where a directory's own path is too long, its sockets stand in
a private directory under the system's temporary one. That one's name is random, so that nobody can be there first, and
noted in the file `where`; owner and mode are checked at every use, for what is temporary may have been swept away and
made again by somebody else.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from propagul import _system
from propagul.errors import StoreError

SOCKET_PATH_BYTES_MAX = 103
"""Longest path of a Unix socket everywhere: `sun_path` has 104 bytes on macOS and the BSDs, 108 on Linux, one a NUL."""


def socket_directory(own: Path, name_bytes: int) -> Path:
    """The private directory for sockets whose names are that long: `own`, or the one that `own/where` names.

    Callers take turns, so that two processes do not make two.

    Raises:
        StoreError: No directory has a path short enough.
        OSError: The system refused.
    """
    room = SOCKET_PATH_BYTES_MAX - name_bytes - len("/")
    if len(os.fsencode(own)) <= room:
        return own
    short = _noted(own / "where") or _make(own / "where")
    if len(os.fsencode(short)) > room:
        raise StoreError(f"{short} is too long a path for sockets; set TMPDIR to a shorter one")
    return short


def _noted(note: Path) -> Path | None:
    try:
        noted = Path(os.fsdecode(note.read_bytes()))
    except FileNotFoundError:
        return None
    with contextlib.suppress(ValueError):  # a damaged note may hold a NUL
        if noted.is_absolute() and _system.is_private_directory(noted):
            return noted
    return None


def _make(note: Path) -> Path:
    made = Path(tempfile.mkdtemp(prefix="propagul-")).absolute()
    _system.write_private(note, os.fsencode(made))
    return made
