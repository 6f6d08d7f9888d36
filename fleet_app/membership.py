"""How a box comes to be a member of its fleet, and stays one.

Two fleets never merge. A box that is alone in its fleet may join another: what it had is moved aside, not deleted. A
box with company is told to use another directory. One that missed a change of its fleet's secret is invited again, and
what it had stays where it is.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet_app.errors import ConfigError
from fleet_app.home import ROOM, Home
from propagul import AgentStateStore
from propagul.errors import IdentityError, LinkError, StoreError
from propagul.link import Credentials, Identity, Invite, RoomAuthority, join
from propagul.link.ring import tag_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fleet_app.config import Settings
    from propagul.link import Address, Grant

_AGAIN_S = 5.0
"""How long a member waits for what a further token of its own fleet may bring."""


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
        Home(settings.data_dir).claim(membership.credentials.room_tag)
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
        return _held(settings, Home(settings.data_dir), identity)
    except IdentityError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"the data directory {settings.data_dir} cannot be used: {error.strerror}") from error


async def _obtain(settings: Settings, identity: Identity, invites: Sequence[Invite]) -> Membership:
    home = Home(settings.data_dir)
    held = _held(settings, home, identity)
    peers = tuple(dict.fromkeys(address for invite in invites for address in invite.addresses))
    known = home.issuers() | {identity.node}
    unknown = [invite for invite in invites if invite.issuer not in known]
    if held is None and not invites:
        secret = secrets.token_urlsafe(32)
        home.write_secrets([secret])
        return Membership(credentials=home.from_secrets(identity, [secret]))
    if held is not None and not unknown:
        renewed = await _renewed(home, identity, invites, held)
        return Membership(credentials=renewed or held, peers=peers)
    grant = await _redeem(unknown or invites, identity)
    used = (grant.issuer, *(invite.invite_id for invite in invites if invite.issuer == grant.issuer))
    peers = tuple(dict.fromkeys((grant.address, *peers)))
    if held is not None and _is_same_fleet(held, grant):
        home.remember(*used)
        return Membership(credentials=_taken(home, identity, held, grant), peers=peers)
    former = None if held is None else _leave(settings, home, held)
    home.remember(*used)
    return Membership(credentials=home.take(grant, identity), peers=peers, former=former)


async def _renewed(home: Home, identity: Identity, invites: Sequence[Invite], held: Credentials) -> Credentials | None:
    """What further tokens of our own fleet bring: another standing for one that was away while the secret changed."""
    for invite in invites:
        if invite.issuer == identity.node or invite.invite_id in home.issuers():
            continue
        try:
            async with asyncio.timeout(_AGAIN_S):
                grant = await join(invite, identity)
        except (LinkError, TimeoutError):
            continue  # another time
        except IdentityError:
            home.remember(invite.issuer, invite.invite_id)
            continue
        home.remember(invite.issuer, invite.invite_id)
        if _is_same_fleet(held, grant):
            return _taken(home, identity, held, grant)
    return None


def _is_same_fleet(held: Credentials, grant: Grant) -> bool:
    return not {*held.ring.lineage.tags, *held.ring.trusted}.isdisjoint(grant.lineage.tags)


def _taken(home: Home, identity: Identity, held: Credentials, grant: Grant) -> Credentials:
    """What a grant of our own fleet makes of us: nothing new, or a newer certificate, or an admin."""
    is_newer = grant.lineage.tag not in held.ring.trusted
    if is_newer or (grant.secret is not None and held.authority is None):
        return home.take(grant, identity)
    return held


def _held(settings: Settings, home: Home, identity: Identity) -> Credentials | None:
    """The membership this box has already: by a secret it was given or keeps, or by a grant."""
    given = None if settings.secret is None else settings.secret.get_secret_value()
    if given is not None and RoomAuthority.from_secret(ROOM, given).tag not in home.former_tags():
        return home.from_secrets(identity, [given])
    secrets_held = home.secrets()
    if secrets_held:
        return home.from_secrets(identity, secrets_held)
    grant = home.grant()
    if grant is None and given is not None:
        raise ConfigError("the secret this node was given is the fleet's no more: give it the new one, or an invite")
    if grant is None:
        return None
    authority = grant["authority"]
    return Credentials.from_grant(identity, grant["certificate"], authority, lineage=home.lineage_to(tag_of(authority)))


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


def _leave(settings: Settings, home: Home, held: Credentials) -> Path:
    """Move a fleet of one aside; refuse where others are in it."""
    if settings.secret is not None:
        raise ConfigError("the secret this node was given and the invite belong to two different fleets")
    if home.state.exists():
        store = AgentStateStore(ROOM, port=None, path=home.state, credentials=held, alone=True)
        company = sum(key.count("/") == 1 for key in store.keys("nodes/")) > 1
        store.close()
        if company:
            raise ConfigError(
                f"{home.path} belongs to a fleet with other nodes; join with another --data-dir: fleets never merge"
            )
    return home.move_aside()
