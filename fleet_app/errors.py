"""The fleet's errors: one branch of the library's tree.

A `ConfigError` is one line that says what to change and ends the command with exit code 2.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from propagul.errors import PropagulError

if TYPE_CHECKING:
    from collections.abc import Iterable


class FleetError(PropagulError):
    """Base of the fleet's own errors."""


class ConfigError(FleetError):
    """A flag, variable, file or port is wrong; the message says what to do about it."""


class BackendError(FleetError):
    """An engine answered wrongly or not at all.

    Attributes:
        retryable: Whether the same call may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)


class GatewayError(FleetError):
    """A request the gateway answers itself, in OpenAI's error shape.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type`, for example `invalid_request_error`.
        code: OpenAI's machine-readable `code`, or None.
        retry_after_s: Sent as `Retry-After` when set.
    """

    def __init__(
        self, message: str, *, status: int, kind: str, code: str | None = None, retry_after_s: int | None = None
    ) -> None:
        self.status, self.kind, self.code, self.retry_after_s = status, kind, code, retry_after_s
        super().__init__(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a complaint about `word`: the nearest known one, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
