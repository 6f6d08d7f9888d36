"""What the system's refusals become: the one place where an `OSError` of the log's files turns into a `StoreError`.

A full disk, a used-up quota and a file size limit are `StoreFull`: nothing is broken and a retry may succeed. The
message names the file or directory and the system's reason, never what was to be written.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from propagul.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refusal(error: OSError, subject: str) -> StoreError:
    """The error to raise for what the system refused; `subject` begins the message."""
    if error.errno in _NO_SPACE:
        return StoreFull(f"{subject}: no space left; free some and try again")
    return StoreError(f"{subject}: {error.strerror or error}")


@contextlib.contextmanager
def refusals_of(subject: str) -> Iterator[None]:
    """Map every `OSError` that leaves the block.

    Raises:
        StoreFull: There was no space.
        StoreError: The system refused for another reason.
    """
    try:
        yield
    except OSError as error:
        raise refusal(error, subject) from error
