"""Files that only their owner may read, and key material lent to OpenSSL.

The one place of this package that knows how systems differ about private files. A file is private from its first
byte: it is created exclusively with mode 0600 under another name and linked into place whole, so nobody ever reads a
half-written key and two processes that start together agree on one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from propagul.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BINARY = getattr(os, "O_BINARY", 0)
_PRIVATE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def create_private(path: Path, content: bytes) -> None:
    """Create `path`, readable by its owner only, and sync it.

    Raises:
        FileExistsError: It exists already; it was not touched.
        OSError: The directory cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write_exclusive(draft, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        _write_exclusive(path, content)
    finally:
        draft.unlink()


def read_private(path: Path) -> bytes:
    """Return the content of `path`.

    Raises:
        FileNotFoundError: There is no such file.
        IdentityError: Others may read it (POSIX), or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _OTHERS:
                raise IdentityError(f"{path} can be read by other users of this machine; run: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def lend(content: bytes) -> Iterator[str]:
    """Give `content` a path for as long as the block runs, because OpenSSL loads keys only from paths.

    On Linux the path is anonymous memory; elsewhere, or without /proc, a 0600 file in a 0700 directory.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("propagul")
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(content)
            memory.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.TemporaryDirectory(prefix="propagul-") as directory:
        path = Path(directory) / "key"
        _write_exclusive(path, content)
        yield str(path)


def _write_exclusive(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
