"""Every error Propagul raises, in one tree.

Who erred decides the branch: `LocalProtocolError` is a caller's mistake, `PeerProtocolError` is a peer's and never
reaches a user's call (it is counted and the link is closed). A message says what, which key, which limit and what to
do; it never holds a secret, a value, a prompt or raw bytes from a peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class PropagulError(Exception):
    """Base of everything Propagul raises on purpose."""


class LocalProtocolError(PropagulError):
    """The caller used an object in a way its state does not allow."""


class PeerProtocolError(PropagulError):
    """A peer sent something the protocol does not allow. Counted; closes that link and no other."""


class ClosedError(PropagulError):
    """The store, link or watcher was closed while or before it was used."""


class IdentityError(PropagulError):
    """A key, certificate, invite or secret does not open the room it was shown to."""


class LinkError(PropagulError):
    """A peer could not be reached, or a link broke."""


class LimitExceeded(PropagulError):  # noqa: N818 - reads as a statement, like TimeoutError's cousins in the field
    """A write is larger than a declared limit. Nothing was stored.

    Attributes:
        subject: What was too large, for example `value of 'task'`.
        size: Its size.
        limit: The limit it broke, in the same unit.
        unit: The unit of both, `bytes` unless said otherwise.
    """

    def __init__(self, subject: str, *, size: int, limit: int, unit: str = "bytes", remedy: str = "") -> None:
        self.subject, self.size, self.limit, self.unit = subject, size, limit, unit
        super().__init__(f"{subject} has {size} {unit}, the limit is {limit}" + (f"; {remedy}" if remedy else ""))


class StoreError(PropagulError):
    """Base of what the event log and its directory can raise."""


class StoreCorrupt(StoreError):  # noqa: N818 - as above
    """A record in the middle of the log fails its checksum. Nothing after it was trusted."""


class StoreFull(StoreError):  # noqa: N818 - as above
    """The disk took no more bytes. Reads and gossip go on."""


class StoreBusy(StoreError):  # noqa: N818 - as above
    """The disk is behind with what was written, and the caller would not wait. Nothing was stored; try again."""


class StoreLocked(StoreError):  # noqa: N818 - as above
    """Another process holds the directory; the message names its pid."""


class NotRetained(StoreError):  # noqa: N818 - as above
    """The past that was asked for is no longer kept.

    Attributes:
        earliest: The earliest moment that is.
    """

    def __init__(self, earliest: datetime) -> None:
        self.earliest = earliest
        super().__init__(
            f"what is kept of the past begins at {earliest.isoformat()}; a longer `retention` of the store keeps more"
        )


class NotReplicated(PropagulError):  # noqa: N818 - as above
    """`flush(peers=n)` ran out of time before n other machines had logged the writes."""


class SyncTimeout(PropagulError):  # noqa: N818 - as above
    """`start(require_peers=n)` ran out of time before n peers had handed over their state."""
