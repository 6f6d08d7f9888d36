"""What members ask of each other on a gossip link, beside gossip: one msgpack list in one frame.

    dial      [16, `dial`, [nonce, query?]]    bring a tunnel to where I listen, and show this nonce there; if `query`
                                               is true I have a question to ask on it
    undialed  [16, `undialed`, [nonce, why]]   I could not; `why` is a code

A node that does not know the kind 16, or a word, ignores the frame. Longer lists are a newer version's: known elements
are read, the rest ignored.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from propagul.errors import PeerProtocolError
from propagul.link.messages import NONCE_BYTES, pack, unpack

_KIND: Final = 16
_DIAL, _UNDIALED = "dial", "undialed"
_SHORT_LIST: Final = 0x90
_LONGEST: Final = 0x9F
_ASK_BYTES_MAX: Final = 1024


class Why(enum.StrEnum):
    """Why a member that was asked to dial back did not."""

    UNLISTED = "unlisted"
    """It knows no address of who asked."""
    UNANSWERED = "unanswered"
    """None of those answered, or not as expected."""
    UNSERVED = "unserved"
    """It serves no tunnels."""
    BUSY = "busy"
    """It is dialling back as much as it does for one member: ask again later."""


class Dial(NamedTuple):
    """Bring me a tunnel, if `query` to ask a question on it."""

    nonce: bytes
    query: bool = False


class Undialed(NamedTuple):
    """I could not. `why` may be a code that this version does not know."""

    nonce: bytes
    why: str


def is_ask(frame: bytes) -> bool:
    """Whether a frame on a gossip link is one of these."""
    return len(frame) > 1 and _SHORT_LIST < frame[0] <= _LONGEST and frame[1] == _KIND


def pack_ask(ask: Dial | Undialed) -> bytes:
    """Encode one."""
    match ask:
        case Dial(nonce, query):
            return pack([_KIND, _DIAL, [nonce, *([True] if query else [])]])
        case Undialed(nonce, why):
            return pack([_KIND, _UNDIALED, [nonce, str(why)]])


def unpack_ask(frame: bytes) -> Dial | Undialed | None:
    """Decode one; None for a word this version does not know.

    Raises:
        PeerProtocolError: It is malformed.
    """
    if len(frame) > _ASK_BYTES_MAX:
        raise PeerProtocolError(f"an ask of {len(frame)} bytes, the limit is {_ASK_BYTES_MAX}")
    match unpack(frame, int, str):
        case [_, word, [bytes(nonce), *more], *_] if word == _DIAL and len(nonce) == NONCE_BYTES:
            return Dial(nonce, query=more[:1] == [True])
        case [_, word, [bytes(nonce), str(why), *_], *_] if word == _UNDIALED and len(nonce) == NONCE_BYTES:
            return Undialed(nonce, why)
        case [_, word, *_] if word not in (_DIAL, _UNDIALED):
            return None
        case _:
            raise PeerProtocolError("an ask lacks what its word needs")
