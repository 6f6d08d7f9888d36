"""Who may be in the room: what a holder of its secret can do about that. A part of `AgentStateStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul.errors import IdentityError, LocalProtocolError
from propagul.link import NodeId, RoomAuthority, public_bytes
from propagul.store._ring import OVERLAP_S

if TYPE_CHECKING:
    from propagul.link import Credentials
    from propagul.store._invites import InviteBook
    from propagul.store._network import Network
    from propagul.store._ring import Ring, Rotation


class RoomKeys:
    """The part of a store that lets members in and out."""

    __slots__ = ()

    if TYPE_CHECKING:  # what the store brings
        room: str
        _ring: Ring | None
        _invites: InviteBook | None
        _credentials: Credentials | None

        def _started(self) -> Network: ...

        def _check_open(self) -> None: ...

    def invite(self, *, expires_s: int = 3600, uses: int = 1, admin: bool = False) -> str:
        """A token that lets `uses` newcomers become members within `expires_s`.

        They do not learn the secret, unless `admin` says so: then they can invite, revoke and change the secret too.

        Raises:
            IdentityError: This store does not hold the room's secret, or is not listening.
        """
        network = self._started()
        if self._invites is None or self._credentials is None or self._credentials.authority is None:
            raise IdentityError("only a store that holds the room's secret can invite; this one does not")
        if not network.addresses:
            raise IdentityError("this store does not listen, so nobody could join through it")
        if admin and self._credentials.authority.secret is None:
            raise IdentityError("a room without a secret has no admins")
        return self._invites.issue(self.room, network.addresses, expires_s=expires_s, uses=uses, admin=admin)

    def revoke(self, node: NodeId | str) -> None:
        """Shut a member out: here at once, elsewhere when they hear of it, and for good.

        Its links are closed and it is let in no more under this identity. Whoever knows the secret can make a new
        one: against them only `rotate_secret` helps. What it has received it keeps.

        Raises:
            IdentityError: This store does not hold the secret, or `node` is no node's id, or is this store itself.
        """
        public_bytes(node)
        self._keys().revoke(NodeId(node))

    def rotate_secret(self, new_secret: str | bytes, *, overlap_s: int = OVERLAP_S) -> None:
        """Change the room's secret. Every member that is known gets a certificate of the new one; no link is lost.

        The former secret is good until every known member has followed, until `finish_rotation`, or for `overlap_s`,
        whichever comes first; 0 ends it at once. Open this store with the new secret from now on.

        Raises:
            IdentityError: This store does not hold the secret, the new one is too weak or was the room's before, or
                another change is under way.
        """
        if overlap_s < 0:
            raise ValueError(f"an overlap is 0 seconds or more, not {overlap_s}")
        self._keys().begin(RoomAuthority.from_secret(self.room, new_secret), overlap_s)

    def finish_rotation(self) -> None:
        """End the former secret now. Members that have not followed have to be invited again.

        Raises:
            IdentityError: No change is under way, or this store does not hold the new secret.
        """
        self._keys().finish()

    @property
    def rotation(self) -> Rotation | None:
        """The change of the secret that is under way, if one is."""
        return None if self._ring is None else self._ring.rotation

    def _keys(self) -> Ring:
        self._check_open()
        if self._ring is None:
            raise LocalProtocolError("a store on a transport of its own has no keys to change")
        return self._ring
