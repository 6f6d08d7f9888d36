"""Invites: rows of this store's own log that let a newcomer in, and never hold the code itself.

The row keeps the certificate that the code determines (public), when it ends and who used it. Only the issuer redeems,
so that one use is one use, and the rows are never replicated: a member who could write them could invite. They outlive
the process: an invite made before a restart works after it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from propagul.errors import IdentityError, PropagulError
from propagul.link import Invite, serve_join
from propagul.store import _values
from propagul.store._rows import live

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul.link import Address, Credentials, Link, NodeId
    from propagul.store._namespace import Namespace

PREFIX = "invites/"
_KEPT_S = 24 * 3600
_RENEW = "ask for a new one with: propagul fleet invite"


class InviteBook:
    """The invites of a room as its issuer keeps them. Implements `propagul.link.InviteGate`."""

    def __init__(self, space: Namespace, issuer: NodeId, time_ns: Callable[[], int]) -> None:
        self._space = space
        self._issuer = issuer
        self._time_ns = time_ns

    def issue(self, room: str, addresses: Sequence[Address], *, expires_s: int, uses: int, admin: bool = False) -> str:
        """Open an invite and return its token, which is shown once and kept nowhere."""
        self._sweep()
        invite = Invite.new(addresses=addresses, room=room, issuer=self._issuer)
        row: dict[str, object] = {
            "certificate": invite.certificate_pem,
            "expires_s": self._now_s() + expires_s,
            "uses": uses,
            "used_by": [],
            "admin": admin,
        }
        self._write(invite.invite_id, row)
        return invite.encode()

    def open_certificates(self) -> list[str]:
        """Certificates (PEM) the door trusts for joining.

        A used-up invite stays until it ends, so that its holder hears why it is refused.
        """
        rows = (self._row(key.removeprefix(PREFIX)) for key, _ in live(self._space.blocks(), PREFIX))
        return [cast("str", row["certificate"]) for row in rows if row is not None and not self._ended(row)]

    def is_admin(self, invite_id: str) -> bool:
        """Whether its joiners are to hold the secret."""
        row = self._row(invite_id)
        return row is not None and row.get("admin") is True

    def redeem(self, invite_id: str, joiner: NodeId, host: str) -> None:
        """Use an invite up by one. A joiner that lost the answer may ask again with the same identity.

        Raises:
            IdentityError: It is unknown, ended, or used up.
        """
        row = self._row(invite_id)
        if row is None:
            raise IdentityError(f"this invite is not known here; {_RENEW}")
        if self._ended(row):
            raise IdentityError(f"this invite has expired; {_RENEW}")
        used_by = cast("list[dict[str, object]]", row["used_by"])
        if joiner in [use["node"] for use in used_by]:
            return
        if len(used_by) >= cast("int", row["uses"]):
            raise IdentityError(f"this invite has been used; {_RENEW}")
        self._write(invite_id, {**row, "used_by": [*used_by, {"node": joiner, "host": host}]})

    def _row(self, invite_id: str) -> dict[str, object] | None:
        winner = self._space.row(PREFIX + invite_id).winner
        value = None if winner is None else _values.thaw(PREFIX + invite_id, winner.payload)
        return value if isinstance(value, dict) else None

    def _write(self, invite_id: str, row: dict[str, object]) -> None:
        key = PREFIX + invite_id
        self._space.put(key, _values.freeze(key, row, _values.Limits()))

    def _sweep(self) -> None:
        """Drop invites that ended a day ago: whoever still holds one has stopped wondering."""
        for key, _ in list(live(self._space.blocks(), PREFIX)):
            row = self._row(key.removeprefix(PREFIX))
            if row is not None and self._now_s() >= cast("int", row["expires_s"]) + _KEPT_S:
                self._space.remove(key)

    def _ended(self, row: dict[str, object]) -> bool:
        return self._now_s() >= cast("int", row["expires_s"])

    def _now_s(self) -> int:
        return self._time_ns() // 10**9


async def let_join(link: Link, credentials: Credentials, invites: InviteBook) -> None:
    """Serve one joiner, which is told if it may not; there is nobody else to tell."""
    with contextlib.suppress(PropagulError):
        await serve_join(link, credentials, invites)
