"""The roll: members present announce their certificate, and the key ring learns from that who they are.

A certificate proves itself, so what another member relays is as good as what its owner says.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from propagul.errors import PropagulError
from propagul.link import NodeId

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from propagul.link import Credentials
    from propagul.store._presence import Presence
    from propagul.store._ring import Ring

MEMBERS: Final = "members/"
"""Where each member says in presence that it is there."""

_CERTIFICATE: Final = "certificate"

_log = logging.getLogger("propagul.store")


class Roll:
    """Keeps a ring tended while the store runs. Does nothing for a store without one."""

    def __init__(self, ring: Ring | None, credentials: Credentials | None, presence: Presence) -> None:
        self._ring, self._credentials, self._presence = ring, credentials, presence

    def announcement(self) -> dict[str, object]:
        """What our own row says beside name and addresses."""
        return {} if self._credentials is None else {_CERTIFICATE: self._credentials.newest_der}

    def is_revoked(self, node: NodeId) -> bool:
        """Whether a member was shut out."""
        return self._credentials is not None and node in self._credentials.ring.revoked

    def tend_in(self, loop: asyncio.AbstractEventLoop, is_ours: Callable[[], bool]) -> None:
        """Tend whenever deeds come in; see `tend`."""
        if self._ring is not None:
            self._ring.on_news = lambda: _soon(loop, lambda: self.tend(is_ours()))

    def tend(self, is_ours: bool) -> None:  # noqa: FBT001 - one of two things to do
        """Have the keys be what the deeds say; where the door is ours, also write what this node owes."""
        if self._ring is None or self._credentials is None:
            return
        try:
            if is_ours:
                self._ring.tend(self._announced())
            else:
                self._ring.settle()
        except PropagulError as error:
            _log.warning("store.keys_not_tended %s", error)
        self._announce(MEMBERS + self._credentials.node)

    def _announce(self, key: str) -> None:
        """Say which certificate is the newest now, if we have said another."""
        heard = self._presence.get(key)
        if heard is not None and isinstance(heard.value, dict):
            row = {**heard.value, **self.announcement()}
            if row != heard.value:
                self._presence.set(key, row)

    def _announced(self) -> dict[NodeId, bytes]:
        """The certificate that each member present announces; empty where it announces none."""
        rows = self._presence.get_all(MEMBERS)
        said = {key: heard.value.get(_CERTIFICATE) for key, heard in rows.items() if isinstance(heard.value, dict)}
        return {NodeId(key.removeprefix(MEMBERS)): c if isinstance(c, bytes) else b"" for key, c in said.items()}


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is linked any more
        loop.call_soon_threadsafe(call)
