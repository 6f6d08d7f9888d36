"""The files of a data directory that say who a node is and which fleet it belongs to, each private to its owner.

identity.key    this node's key, made once
room-secret     the fleet's secret, where this node holds it (made on the first start of a fleet of one); while it
                is being changed, the new one and then the former one
grant.json      the certificate of an invited node that does not hold the secret
lineage         the authorities that the fleet has had, so that the present one is known as one of them
issuers         whose tokens lead to this fleet, and which of them were used here
fleet           the tag of the fleet that all of this belongs to
state/          the replica
former/         what a box kept of a fleet of one that it left to join another
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from fleet_app.errors import ConfigError
from propagul import _system
from propagul.errors import IdentityError
from propagul.link import Credentials, Identity, RoomAuthority
from propagul.link.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from propagul.link import Grant

ROOM = "fleet"
SECRET_FILE = "room-secret"  # noqa: S105 - the file's name
_GRANT, _LINEAGE, _ISSUERS, _TAG, _STATE = "grant.json", "lineage", "issuers", "fleet", "state"


class Home:
    """The membership files of a data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / _STATE

    def read(self, name: str) -> str | None:
        """A file's text; None if there is none.

        Raises:
            ConfigError: Others may read it.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            return _system.read_private(path).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be used: {getattr(error, 'strerror', 'it is no text')}") from error

    def write(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        _system.write_private(self.path / name, text.encode())

    def secrets(self) -> list[str]:
        """The fleet's secret, if it is held here, and the former one while it is being changed."""
        return (self.read(SECRET_FILE) or "").split()

    def write_secrets(self, secrets_held: Sequence[str]) -> None:
        """Replace them in one step."""
        self.write(SECRET_FILE, "".join(f"{secret}\n" for secret in secrets_held))

    def drop_secrets(self) -> None:
        """Be no holder any more."""
        (self.path / SECRET_FILE).unlink(missing_ok=True)

    def lineage(self) -> Lineage | None:
        """The authorities that the fleet has had, as far as was written down."""
        try:
            return Lineage.read(base64.b64decode((self.read(_LINEAGE) or "").strip(), validate=True))
        except (IdentityError, binascii.Error):
            return None

    def lineage_to(self, tag: str) -> Lineage | None:
        """The line that ends with an authority, if it is known."""
        known = self.lineage()
        return known.cut(tag) if known is not None and tag in known.tags else None

    def former_tags(self) -> tuple[str, ...]:
        """The authorities that are the fleet's no more."""
        known = self.lineage()
        return () if known is None else known.tags[:-1]

    def write_lineage(self, lineage: Lineage) -> None:
        """Keep which authorities the fleet has had."""
        if len(lineage.tags) > 1 and lineage != self.lineage():
            self.write(_LINEAGE, base64.b64encode(lineage.packed).decode() + "\n")

    def from_secrets(self, identity: Identity, held: Sequence[str]) -> Credentials:
        """The standing of a holder. While the secret is being changed there are two; the line may not be kept yet."""
        authority, *former = (RoomAuthority.from_secret(ROOM, secret) for secret in held[:2])
        lineage = self.lineage_to(authority.tag)
        if lineage is None and former:
            before = self.lineage_to(former[0].tag) or Lineage.of(former[0].tag)
            lineage = before.followed_by(former[0], authority)
        trusted = [other.ca_pem for other in former]
        return Credentials.from_authority(identity, authority, also_trust=trusted, lineage=lineage)

    def take(self, grant: Grant, identity: Identity) -> Credentials:
        """Keep what a join gave, and be that: a member, or one more holder of the secret."""
        self.write_lineage(grant.lineage)
        if grant.secret is not None:
            self.write_secrets([str(grant.secret)])
            return self.from_secrets(identity, [str(grant.secret)])
        self.write_grant(grant.certificate_pem, grant.ca_pem)
        self.drop_secrets()
        return Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem, lineage=grant.lineage)

    def grant(self) -> dict[str, str] | None:
        """The certificate and authority of an invited node."""
        text = self.read(_GRANT)
        if text is None:
            return None
        try:
            grant = json.loads(text)
            return {"certificate": str(grant["certificate"]), "authority": str(grant["authority"])}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.path / _GRANT} is damaged: join again with another --data-dir") from error

    def write_grant(self, certificate_pem: str, ca_pem: str) -> None:
        """Keep a certificate and the authority that made it."""
        kept = {"certificate": certificate_pem, "authority": ca_pem}
        if kept != self.grant():
            self.write(_GRANT, json.dumps(kept, indent=1))

    def issuers(self) -> set[str]:
        """Who has invited this node, or vouched for the fleet it is in, and the ids of tokens that were used here."""
        return set((self.read(_ISSUERS) or "").split())

    def remember(self, *names: str) -> None:
        """Add to `issuers`."""
        self.write(_ISSUERS, "\n".join(sorted(self.issuers() | {*names})) + "\n")

    def claim(self, tag: str) -> None:
        """Note whose directory this is, once.

        Raises:
            ConfigError: It belongs to another fleet: with another secret its rows would flow into that one's.
        """
        known = self.read(_TAG)
        if known is None:
            self.write(_TAG, tag + "\n")
        elif known.strip() != tag:
            raise ConfigError(
                f"{self.path} belongs to a fleet with another secret; use another --data-dir: fleets never merge"
            )

    def move_aside(self) -> Path:
        """Move all that belongs to a fleet into a fresh directory under `former/`."""
        former = self.path / "former"
        former.mkdir(mode=0o700, exist_ok=True)
        target = former / f"{len(list(former.iterdir())) + 1}"
        target.mkdir(mode=0o700)
        for name in (SECRET_FILE, _GRANT, _LINEAGE, _ISSUERS, _TAG, _STATE):
            if (self.path / name).exists():
                _system.move(self.path / name, target / name)
        return target
