"""Proofs: members announce their certificate in their row, and the key ring learns from that who they are.

A certificate proves itself, so what another member relays is as good as what its owner says.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from propagul.errors import PropagulError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from propagul.link import Credentials, NodeId
    from propagul.store._ring import Ring

CERTIFICATE: Final = "certificate"
"""Where a member's row has it."""

_log = logging.getLogger("propagul.store")


class Proofs:
    """Keeps a ring tended while the store runs. Does nothing for a store without one."""

    def __init__(self, ring: Ring | None, credentials: Credentials | None) -> None:
        self._ring, self._credentials = ring, credentials

    def announcement(self) -> dict[str, object]:
        """What our own row says beside name and addresses."""
        return {} if self._credentials is None else {CERTIFICATE: self._credentials.newest_der}

    def is_revoked(self, node: NodeId) -> bool:
        """Whether a member was shut out."""
        return self._credentials is not None and node in self._credentials.ring.revoked

    def tend_in(self, loop: asyncio.AbstractEventLoop, tend: Callable[[], None]) -> None:
        """Call `tend` in the loop whenever deeds come in."""
        if self._ring is not None:
            self._ring.on_news = lambda: _soon(loop, tend)

    def tend(self, heard: Mapping[NodeId, bytes] | None) -> None:
        """Have the keys be what the deeds say, and write what this node owes.

        Args:
            heard: The certificate that each member announces, empty where it announces none; None where another process
                has the door of our directory, and writes what is owed.
        """
        if self._ring is None:
            return
        try:
            if heard is None:
                self._ring.settle()
            else:
                self._ring.tend(heard)
        except PropagulError as error:
            _log.warning("store.keys_not_tended %s", error)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is linked any more
        loop.call_soon_threadsafe(call)
