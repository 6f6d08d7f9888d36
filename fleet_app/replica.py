"""The fleet's replica on one box: how it is opened, and the durable row in which a box says who it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from fleet_app.addresses import advertised, parse_address
from fleet_app.errors import ConfigError
from fleet_app.home import ROOM
from fleet_app.roster import NODES
from propagul import AgentStateStore, GossipConfig, IdentityError, StoreLocked, __version__

if TYPE_CHECKING:
    from fleet_app.config import Settings
    from fleet_app.membership import Membership
    from propagul.link import Address

GOSSIP: Final = GossipConfig(pulse_interval_s=2.5, silence_s_max=8.0)
"""A box that hangs is seen to within seconds: people look at the page to learn that."""


def open_store(settings: Settings, membership: Membership) -> AgentStateStore:
    """Open it for a node, which holds its directory alone.

    Raises:
        ConfigError: Another node has it, or it is of another identity.
    """
    listen = settings.listen
    try:
        return AgentStateStore(
            ROOM,
            node_id=settings.name,
            port=listen.port,
            host=listen.host,
            path=settings.data_dir / "state",
            config=GOSSIP,
            credentials=membership.credentials,
            advertise=advertised(listen),
            alone=True,
            owned=(NODES,),
        )
    except StoreLocked as error:
        raise ConfigError(f"{error}; a second node on this box needs a --data-dir of its own") from error
    except IdentityError as error:
        raise ConfigError(f"{error}, or invite this box again and start it with --join") from error


def introduce(store: AgentStateStore, name: str) -> None:
    """Keep who we are in the fleet's durable rows, written only when it changed."""
    row = {"name": name, "version": __version__, "addresses": [str(address) for address in store.addresses]}
    if store.get(NODES + store.node) != row:
        store.set(NODES + store.node, row)


def remembered_peers(store: AgentStateStore) -> list[Address]:
    """Where the others listened when this node last ran."""
    rows = [row for key, row in store.items(NODES) if key != NODES + store.node]
    return [address for row in rows if isinstance(row, dict) for address in _addresses(row.get("addresses"))]


def _addresses(value: object) -> list[Address]:
    """Addresses out of a durable row that some member wrote; what is none is left out."""
    found = []
    for text in value if isinstance(value, list) else []:
        with contextlib.suppress(ConfigError):
            found.append(parse_address(str(text)))
    return found
