"""Which room a store opens and who it is there: secret, grant or an open room on loopback."""

from __future__ import annotations

import ipaddress
import os
import secrets
from typing import TYPE_CHECKING

from propagul.errors import IdentityError
from propagul.link import Credentials, Identity, RoomAuthority

if TYPE_CHECKING:
    from pathlib import Path

SECRET_VARIABLE = "PROPAGUL_GOSSIP_SECRET"  # noqa: S105 - the variable's name
PLAINTEXT_VARIABLE = "PROPAGUL_ALLOW_PLAINTEXT"


def open_room(room: str, secret: str | bytes | None, host: str | None, path: Path | None) -> tuple[Credentials, str]:
    """The credentials of a store, and the host it listens on.

    Raises:
        IdentityError: The secret is too short, or there is none and the host can be reached from other machines.
    """
    identity = Identity.generate() if path is None else Identity.load_or_create(path / "identity.key")
    secret = secret or os.environ.get(SECRET_VARIABLE)
    if secret:
        return Credentials.from_authority(identity, RoomAuthority.from_secret(room, secret)), host or "0.0.0.0"  # noqa: S104 - members only
    host = host or "127.0.0.1"
    if not is_loopback(host) and os.environ.get(PLAINTEXT_VARIABLE, "").lower() not in ("1", "true", "yes"):
        raise IdentityError(
            f"a store without a secret listens on 127.0.0.1 only, and {host} can be reached from other machines. "
            f"Run this, and give the same value to every member:  export {SECRET_VARIABLE}={secrets.token_urlsafe(24)}"
        )
    return Credentials.from_authority(identity, RoomAuthority.open(room)), host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
