"""Hostile bytes for every decoder, seed after seed: `make fuzz`, or `python -m tests.fuzz FROM SECONDS`.

A seed makes two hundred frames, half of them nearly good ones that were cut, spliced and overwritten, and gives each to
a decoder: of the replica, the log, gossip, links, invites, values and keys. A decoder takes a frame or raises its
one error. Anything else ends the run with the line that replays it.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Final

from propagul.crdt import Packed, wire
from propagul.errors import IdentityError, LinkError, PeerProtocolError, StoreCorrupt
from propagul.link import Address, FrameDecoder, Identity, Invite, encode_frame
from propagul.link import messages as link_messages
from propagul.log import records
from propagul.store import _asks, _paths, _values
from tests.crdt import test_hostile_bytes as replica

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Decoder = tuple[Callable[[bytes], object], type[Exception] | tuple[type[Exception], ...]]

FRAMES: Final = 100
ANSWERS: Final = (LinkError, IdentityError, PeerProtocolError)
"""A good refusal is an error too."""

_ROOT: Final = Address("192.0.2.1", 9000)
_SEED: Final = 0x40404040
_BOOT: Final = bytes(16)


def frames(packed: bytes) -> object:
    """Fed in two pieces, as a network may cut them."""
    decoder, taken = FrameDecoder(200), []
    for piece in (packed[: len(packed) // 2], packed[len(packed) // 2 :]):
        decoder.feed(piece)
        while (frame := decoder.next_frame()) is not None:
            taken.append(frame)
    return taken


def segment(packed: bytes) -> object:
    return records.decode_header(packed), records.foreign_format(packed), records.scan_chunk(packed, 64, 1, _SEED)


def path(packed: bytes) -> object:
    return _paths.parse(packed.decode("utf-8", "replace"))


DECODERS: Final[dict[str, Decoder]] = {
    **replica.DECODERS,
    "frames": (frames, PeerProtocolError),
    "hello": (link_messages.unpack_hello, PeerProtocolError),
    "answer": (lambda packed: link_messages.check_answer(packed, _ROOT, "gossip"), ANSWERS),
    "ask": (_asks.unpack_ask, PeerProtocolError),
    "invite": (lambda packed: Invite.decode(packed.decode("latin-1")), IdentityError),
    "segment": (segment, ()),
    "value": (lambda packed: _values.thaw("k", Packed(packed)), StoreCorrupt),
    "path": (path, ()),
}

GOOD: Final[Mapping[str, list[bytes]]] = {
    **replica.GOOD,
    "frames": [encode_frame(b"one") + encode_frame(bytes(100))],
    "hello": [
        link_messages.pack_hello(link_messages.Hello("gossip", nonce=b"n" * 16)),
        link_messages.pack(["propagul", 1, "gossip"]),
    ],
    "answer": [link_messages.pack_ok(), *map(link_messages.pack_refusal, link_messages.RefusalCode)],
    "ask": [_asks.pack_ask(_asks.Dial(b"n" * 16)), _asks.pack_ask(_asks.Undialed(b"n" * 16, _asks.Why.BUSY))],
    "invite": [Invite.new(addresses=[_ROOT], room="room", issuer=Identity.from_seed(bytes(32)).node).encode().encode()],
    "segment": [
        records.encode_header(records.SegmentHeader(7, 1, _BOOT, _SEED)),
        records.encode(b"one", 64, _SEED) + records.encode(bytes(50), 64 + records.FRAME_BYTES + 3, _SEED),
        records.encode_seal(records.Seal(64, 64, _BOOT), _SEED),
    ],
    "value": [wire.pack([{"a": [1, b"x", {"b": None}], "c": -1.5}])[1:]],
    "path": [_paths.element_key(_paths.MAP, "name", "a", b"b", -7, limits=_values.Limits()).encode()],
}


class Fault(Exception):  # noqa: N818 - of a decoder, and no error of ours
    """A decoder raised what it must not; the message replays it."""


def attack(seed: int, decoders: Mapping[str, Decoder] = DECODERS) -> None:
    """Give every frame of a seed to a decoder.

    Raises:
        Fault: One raised anything but its own error.
    """
    chance = random.Random(seed)
    for name, frame in replica.mutants(FRAMES, seed, GOOD, list(decoders)):
        for packed in (frame, chance.randbytes(chance.randrange(40))):
            decode, error = decoders[name]
            try:
                decode(packed)
            except error:
                pass
            except Exception as fault:
                line = f"replay: python -m tests.fuzz {seed}"
                raise Fault(f"{name}: {type(fault).__name__}: {fault}\n{packed.hex()}\n{line}") from fault


def main(first: int, seconds: float = 0.0) -> None:
    """Attack with seeds from the first one on until the time is up, and with one at least."""
    deadline, seed = time.monotonic() + seconds, first
    while seed == first or time.monotonic() < deadline:
        attack(seed)
        seed += 1
    print(f"{(seed - first) * FRAMES * 2} frames, 0 failures; go on with FROM={seed}")


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:3]))
