"""Links: one authenticated, encrypted connection at a time, for one purpose.

A room's secret is its certificate authority (`RoomAuthority`); a node's identity and its certificate are its
`Credentials`; a `TcpTransport` opens and accepts links with them; an `Invite` lets a machine in without the secret.
Nothing here knows what a link carries.
"""

from __future__ import annotations

import logging

from propagul.link.base import (
    FIRST_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    Address,
    ByteLink,
    Link,
    Listener,
    NodeId,
    Purpose,
    Refusal,
    ReverseTransport,
    Transport,
)
from propagul.link.credentials import Credentials
from propagul.link.framing import FrameDecoder, encode_frame
from propagul.link.identity import Identity, node_id, public_bytes, verify
from propagul.link.invite import Invite, InviteGate, invite_id
from propagul.link.join import Grant, join, serve_join
from propagul.link.pins import AllowList, AnyMember, FirstUse, Pins, open_pins
from propagul.link.relayed import Relayed
from propagul.link.room import RoomAuthority, room_tag
from propagul.link.tcp import TcpTransport

__all__ = [
    "FIRST_FRAME_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "Address",
    "AllowList",
    "AnyMember",
    "ByteLink",
    "Credentials",
    "FirstUse",
    "FrameDecoder",
    "Grant",
    "Identity",
    "Invite",
    "InviteGate",
    "Link",
    "Listener",
    "NodeId",
    "Pins",
    "Purpose",
    "Refusal",
    "Relayed",
    "ReverseTransport",
    "RoomAuthority",
    "TcpTransport",
    "Transport",
    "encode_frame",
    "invite_id",
    "join",
    "node_id",
    "open_pins",
    "public_bytes",
    "room_tag",
    "serve_join",
    "verify",
]

logging.getLogger("propagul.link").addHandler(logging.NullHandler())
