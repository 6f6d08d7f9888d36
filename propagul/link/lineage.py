"""The authorities of a room, in the order in which they followed one another.

Each step is signed by both its ends: the former authority names its successor, and the successor acknowledges whom it
follows. So whoever knows one of them can tell which others belong to the same room, before and after it. An authority
is called by its *tag*: its public key as text, spelt as a node's id is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, Self

from propagul.errors import IdentityError, PeerProtocolError
from propagul.link.base import NodeId
from propagul.link.identity import node_id, public_bytes, verify
from propagul.link.messages import pack, unpack

if TYPE_CHECKING:
    from propagul.link.room import RoomAuthority

AUTHORITIES_MAX = 64
"""How often the secret of one room can be changed, and one more."""


class Lineage(NamedTuple):
    """A verified line of authorities.

    Attributes:
        tags: From the room's first one known to the one it is about.
        packed: The same with its signatures, as it travels.
    """

    tags: tuple[str, ...]
    packed: bytes

    @property
    def tag(self) -> str:
        """The authority it is about: the last one."""
        return self.tags[-1]

    @classmethod
    def of(cls, tag: str) -> Self:
        """The line of an authority that follows none."""
        return cls((tag,), pack([public_bytes(tag)]))

    @classmethod
    def read(cls, packed: bytes) -> Self:
        """Verify a line that came from elsewhere.

        Raises:
            IdentityError: A signature is missing or wrong, or it is no line at all.
        """
        return cls(_verified(packed), packed)

    def followed_by(self, former: RoomAuthority, successor: RoomAuthority) -> Self:
        """The line with one more authority; whoever makes it holds both keys.

        Raises:
            IdentityError: `former` is not the last one, the other is in it already, or it is full.
        """
        if former.tag != self.tag or successor.tag in self.tags:
            raise IdentityError("this secret was the room's before: choose another one")
        if len(self.tags) >= AUTHORITIES_MAX:
            raise IdentityError(f"the secret of one room can be changed {AUTHORITIES_MAX - 1} times: found a new room")
        text = _step_text(self.tag, successor.tag)
        step = [public_bytes(successor.tag), former.sign(text), successor.sign(text)]
        return type(self)((*self.tags, successor.tag), pack([*unpack(self.packed), step]))

    def cut(self, tag: str) -> Self:
        """The line of an authority in it, as it travels."""
        count = self.tags.index(tag) + 1
        return self if count == len(self.tags) else type(self)(self.tags[:count], pack(unpack(self.packed)[:count]))

    def until(self, tag: str) -> tuple[str, ...]:
        """The line of an authority in it."""
        return self.tags[: self.tags.index(tag) + 1]


@functools.lru_cache(maxsize=256)
def _verified(packed: bytes) -> tuple[str, ...]:
    try:
        first, *steps = unpack(packed, bytes, items_max=AUTHORITIES_MAX)
    except PeerProtocolError as error:
        raise IdentityError("a line of authorities is damaged") from error
    assert isinstance(first, bytes)
    tags: list[str] = [node_id(first)]
    for step in steps:
        match step:
            case [bytes(public), bytes(by_former), bytes(by_itself)]:
                tag, former = node_id(public), NodeId(tags[-1])
                text = _step_text(former, tag)
                if not (tag not in tags and verify(former, by_former, text) and verify(tag, by_itself, text)):
                    raise IdentityError("an authority was not named by the one before it")
                tags.append(tag)
            case _:
                raise IdentityError("a line of authorities is damaged")
    return tuple(tags)


def _step_text(former: str, successor: str) -> bytes:
    return pack(["propagul 1 next authority", former, successor])
