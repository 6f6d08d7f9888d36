"""The file of an export: written whole or not at all, read a bounded line at a time; `-` is stdout or stdin."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet_app.errors import ConfigError
from propagul import _system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

LINE_BYTES_MAX: Final = 256 * 1024 * 1024
"""More than the longest line of an export: 16 MiB of the most expensive characters."""


@contextlib.contextmanager
def writing(file: str) -> Iterator[Callable[[str], object]]:
    """Give what writes a text. A file is private, and takes its name when all is on the disk.

    Raises:
        OSError: The system refused.
    """
    if file == "-":
        out = sys.stdout.buffer
        yield lambda text: out.write(text.encode())
        out.flush()
        return
    with _system.writing_private(Path(file)) as opened:
        yield lambda text: opened.write(text.encode())


@contextlib.contextmanager
def reading(file: str) -> Iterator[Iterator[str]]:
    """Give the lines of a file.

    Raises:
        OSError: The system refused.
        ConfigError: It is no text, or one line is longer than any of an export.
    """
    if file == "-":
        yield _lines(sys.stdin.buffer)
        return
    with Path(file).open("rb") as opened:
        yield _lines(opened)


def _lines(stream: BinaryIO) -> Iterator[str]:
    number = 0
    while line := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise ConfigError(f"line {number} is longer than {LINE_BYTES_MAX} bytes, which none of an export is")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"line {number} is no text in UTF-8") from None
