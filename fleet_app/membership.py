"""How a box comes to be a member of its fleet, and stays one.

    data dir/
      identity.key    this node's key, made once
      room-secret     the fleet's secret, where this node holds it (made on the first start of a fleet of one)
      grant.json      the certificate of an invited node, which never learns the secret
      issuers         whose tokens lead to this fleet
      fleet           the tag of the fleet that all of this belongs to
      state/          the replica
      former/         what a box kept of a fleet of one that it left to join another

Two fleets never merge. A box that is alone in its fleet may join another: what it had is moved aside, not deleted. A
box with company is told to use another directory.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_app.errors import ConfigError
from propagul import AgentStateStore, _system
from propagul.errors import IdentityError, LinkError, StoreError
from propagul.link import Credentials, Identity, Invite, RoomAuthority, join

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fleet_app.config import Settings
    from propagul.link import Address, Grant

ROOM = "fleet"
_SECRET = "room-secret"  # noqa: S105 - the file's name
_GRANT, _ISSUERS, _TAG, _STATE = "grant.json", "issuers", "fleet", "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a node shows and whom it dials first.

    Attributes:
        credentials: Identity and certificate; with the authority where this node holds the secret.
        peers: Addresses that an invite named.
        former: Where the fleet of one that this box left was put, if it left one.
    """

    credentials: Credentials
    peers: tuple[Address, ...] = ()
    former: Path | None = None


async def obtain(settings: Settings) -> Membership:
    """Find, redeem or found this node's membership.

    Raises:
        ConfigError: The secret, token or data directory does not fit; the message says what to do.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = Identity.load_or_create(settings.data_dir / "identity.key")
        invites = [Invite.decode(token) for token in settings.join]
        membership = await _obtain(settings, identity, invites)
        _Home(settings.data_dir).claim(membership.credentials.room_tag)
    except (IdentityError, LinkError, StoreError) as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"the data directory {settings.data_dir} cannot be used: {error.strerror}") from error
    return membership


def held(settings: Settings) -> Credentials | None:
    """Return the membership that this box has already, if any. Makes and changes nothing.

    Raises:
        ConfigError: There is one and it cannot be used.
    """
    key = settings.data_dir / "identity.key"
    try:
        identity = Identity.load_or_create(key) if key.exists() else Identity.generate()
        return _held(settings, _Home(settings.data_dir), identity)
    except IdentityError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"the data directory {settings.data_dir} cannot be used: {error.strerror}") from error


async def _obtain(settings: Settings, identity: Identity, invites: Sequence[Invite]) -> Membership:
    home = _Home(settings.data_dir)
    held = _held(settings, home, identity)
    peers = tuple(dict.fromkeys(address for invite in invites for address in invite.addresses))
    known = home.issuers() | {identity.node}
    unknown = [invite for invite in invites if invite.issuer not in known]
    if held is None and not invites:
        secret = secrets.token_urlsafe(32)
        home.write(_SECRET, secret + "\n")
        return Membership(credentials=_from_secret(identity, secret))
    if held is not None and not unknown:
        return Membership(credentials=held, peers=peers)
    grant = await _redeem(unknown or invites, identity)
    peers = tuple(dict.fromkeys((grant.address, *peers)))
    if held is not None and grant.ca_pem in held.ca_pems:
        home.remember_issuer(grant.issuer)
        return Membership(credentials=held, peers=peers)
    former = None if held is None else _leave(settings, home, held)
    home.write_grant(grant)
    joined = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem)
    return Membership(credentials=joined, peers=peers, former=former)


def _held(settings: Settings, home: _Home, identity: Identity) -> Credentials | None:
    """The membership this box has already: by a secret it was given or keeps, or by a grant."""
    if settings.secret is not None:
        return _from_secret(identity, settings.secret.get_secret_value())
    secret = home.read(_SECRET)
    if secret is not None:
        return _from_secret(identity, secret.strip())
    grant = home.grant()
    return None if grant is None else Credentials.from_grant(identity, grant["certificate"], grant["authority"])


def _from_secret(identity: Identity, secret: str) -> Credentials:
    return Credentials.from_authority(identity, RoomAuthority.from_secret(ROOM, secret))


async def _redeem(invites: Sequence[Invite], identity: Identity) -> Grant:
    """The first grant that any of the tokens gives."""
    troubles = []
    for invite in invites:
        if invite.room != ROOM:
            raise IdentityError("this token invites to a room of the library, not to a fleet")
        try:
            return await join(invite, identity)
        except (IdentityError, LinkError) as error:
            troubles.append(str(error))
    raise IdentityError("; ".join(troubles))


def _leave(settings: Settings, home: _Home, held: Credentials) -> Path:
    """Move a fleet of one aside; refuse where others are in it."""
    if settings.secret is not None:
        raise ConfigError("the secret this node was given and the invite belong to two different fleets")
    if (home.path / _STATE).exists():
        store = AgentStateStore(ROOM, port=None, path=home.path / _STATE, credentials=held, alone=True)
        company = len(store.get_all("nodes/")) > 1
        store.close()
        if company:
            raise ConfigError(
                f"{home.path} belongs to a fleet with other nodes; join with another --data-dir: fleets never merge"
            )
    return home.move_aside()


class _Home:
    """The membership files of a data directory, each private to its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path

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

    def write_grant(self, grant: Grant) -> None:
        """Keep what a join gave."""
        kept = {"certificate": grant.certificate_pem, "authority": grant.ca_pem}
        self.write(_GRANT, json.dumps(kept, indent=1))
        self.remember_issuer(grant.issuer)

    def issuers(self) -> set[str]:
        """Who has invited this node, or vouched for the fleet it is in: their tokens need no second redeeming."""
        return set((self.read(_ISSUERS) or "").split())

    def remember_issuer(self, issuer: str) -> None:
        """Add to `issuers`."""
        self.write(_ISSUERS, "\n".join(sorted(self.issuers() | {issuer})) + "\n")

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
        for name in (_SECRET, _GRANT, _ISSUERS, _TAG, _STATE):
            if (self.path / name).exists():
                _system.move(self.path / name, target / name)
        return target
