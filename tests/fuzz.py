"""Hostile bytes for every decoder, seed after seed: `make fuzz`, or `python -m tests.fuzz FROM SECONDS`.

A seed makes two hundred frames, half of them nearly good ones that were cut, spliced and overwritten, and forty that
are sound and hold something else than they should. It gives each to a decoder: of the replica, the log, gossip, links,
joining, certificates, invites, questions, values and keys, and of the fleet (`tests.fleet.hostile`). A decoder takes a
frame or raises its one error. Anything else ends the run with the line that replays it. What a link carries is given to
its decoder twice: whole, and as it comes out of a connection that delivers it byte by byte.

`tests.guided` gives the same decoders what coverage leads it to.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
import time
from typing import TYPE_CHECKING, Final, cast

from propagul.crdt import Origin, Packed, Stamp, codec, wire
from propagul.errors import ClosedError, IdentityError, LinkError, PeerProtocolError, StoreCorrupt
from propagul.gossip import decoding, messages, stream
from propagul.gossip.compare import Comparison
from propagul.link import (
    FRAME_BYTES_MAX,
    Address,
    Credentials,
    FrameDecoder,
    Identity,
    Invite,
    Purpose,
    RoomAuthority,
    encode_frame,
    serve_join,
)
from propagul.link import messages as link_messages
from propagul.link.certificates import holder, issued_by, parse_certificate
from propagul.link.join import _answer_text, _grant, _proof_text, _signed_answer
from propagul.log import baton, records
from propagul.store import _addresses, _asks, _paths, _query, _questions, _values
from propagul.store._types import _counter
from propagul.store._types._counter import Cell
from tests.crdt import test_hostile_bytes as replica
from tests.fleet import hostile as fleet
from tests.gossip import proven
from tests.gossip.simulator import MemoryLog
from tests.gossip.taking import taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from propagul.crdt import Dot
    from propagul.link import Link

    Decoder = tuple[Callable[[bytes], object], type[Exception] | tuple[type[Exception], ...]]

FRAMES: Final = 100
A_SEED: Final = 240
ANSWERS: Final = (LinkError, IdentityError, PeerProtocolError)
"""A good refusal is an error too."""

_ROOT: Final = Address("192.0.2.1", 9000)
_SEED: Final = 0x40404040
_BOOT: Final = bytes(16)


def in_bytes(packed: bytes) -> Iterable[bytes]:
    """As a connection delivers it that delivers no two bytes at once."""
    return (packed[at : at + 1] for at in range(len(packed)))


def cut(pieces: Iterable[bytes]) -> tuple[list[bytes], str]:
    """The frames in a stream, and the error that ended it."""
    decoder, taken = FrameDecoder(200), list[bytes]()
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (frame := decoder.next_frame()) is not None:
                taken.append(frame)
    except PeerProtocolError as error:
        return taken, str(error)
    return taken, ""


def frames(packed: bytes) -> object:
    """Fed whole, in two pieces and byte by byte: the frames are the same."""
    taken, error = whole = cut([packed])
    half = len(packed) // 2
    assert cut([packed[:half], packed[half:]]) == whole
    assert cut(in_bytes(packed)) == whole
    if error:
        raise PeerProtocolError(error)
    return taken


def items(packed: bytes) -> object:
    """The same for the items of a stream of rows."""
    whole = assembled([packed])
    assert assembled(in_bytes(packed)) == whole
    return whole


def assembled(pieces: Iterable[bytes]) -> tuple[list[bytes], str]:
    """The items in a stream of rows, and the error that ended it."""
    assembler, taken = stream.Assembler(), list[bytes]()
    try:
        for piece in pieces:
            taken += assembler.feed(piece)
    except PeerProtocolError as error:
        return taken, str(error)
    return taken, ""


def carried(packed: bytes) -> bytes:
    """A frame as it comes out of a connection that delivers it byte by byte."""
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    for piece in in_bytes(encode_frame(packed)):
        assert decoder.next_frame() is None
        decoder.feed(piece)
    found = decoder.next_frame()
    assert found == packed
    return found


class Said:
    """A link on which a peer says this and no more."""

    purpose, remote = Purpose.JOIN, _ROOT

    def __init__(self, *frames: bytes) -> None:
        self.peer, self._frames, self.sent = INVITE.key.node, list(frames), list[bytes]()

    async def receive(self) -> bytes:
        if not self._frames:
            raise ClosedError("the peer closed the link")
        return self._frames.pop(0)

    async def send(self, frame: bytes) -> None:
        assert frame
        self.sent.append(frame)


class OpenGate:
    """Lets everybody in."""

    def open_certificates(self) -> list[str]:
        return [INVITE.certificate_pem]

    def redeem(self, invite_id: str, joiner: str, host: str) -> None:
        assert all((invite_id, joiner, host))

    def is_admin(self, invite_id: str) -> bool:
        return not invite_id


AUTHORITY: Final = RoomAuthority.from_secret("room", bytes(range(32)))
ISSUER: Final = Credentials.from_authority(Identity.from_seed(bytes(32)), AUTHORITY)
JOINER: Final = Identity.from_seed(bytes([1]) * 32)
INVITE: Final = Invite(addresses=(_ROOT,), room="room", issuer=ISSUER.node, code=bytes(16))
NONCE: Final = bytes(32)
REQUEST: Final = link_messages.pack(
    [NONCE, JOINER.node, JOINER.sign(_proof_text(NONCE, JOINER.node, INVITE.invite_id))]
)
GRANT: Final = link_messages.pack(["granted", "room", AUTHORITY.certify(JOINER.node), AUTHORITY.ca_pem])
GRANTED: Final = link_messages.pack(
    [GRANT, ISSUER.identity.sign(_answer_text(NONCE, JOINER.node, INVITE.invite_id, GRANT))]
)
DOTS: Final = link_messages.pack(codec.flatten([(Origin(7), Stamp(9)), (Origin(8), Stamp(1))]))
QUESTION: Final = link_messages.pack(["logged", 1, 100, 1])
ANSWER: Final = wire.pack({"values": {"cpu": [1.0, None]}})
HEAD: Final = link_messages.pack(["answer", len(ANSWER), 1])


def join_request(packed: bytes) -> object:
    return asyncio.run(serve_join(cast("Link", Said(packed)), ISSUER, OpenGate()))


def join_answer(packed: bytes) -> object:
    return _grant(_signed_answer(packed, NONCE, INVITE, JOINER, _ROOT), INVITE, JOINER, _ROOT)


def grant(packed: bytes) -> object:
    """What an issuer may say that is the right one and means ill."""
    return _grant(packed, INVITE, JOINER, _ROOT)


def question(*packed: bytes) -> object:
    """Of another process of our directory: how many members have logged these?"""

    async def logged(dots: Sequence[Dot], peers: int, timeout_s: float) -> int:
        assert all(type(number) is int for number in (peers, *(part for dot in dots for part in dot)))
        return int(timeout_s < 0)

    return asyncio.run(_query.answer_logged(cast("Link", Said(*packed)), logged))


def asked(packed: bytes) -> object:
    """A member's question; whatever it asks, the answer is one that a member can read."""

    async def route(_: object, arguments: object) -> object:
        return arguments

    async def answered() -> object:
        link = Said(packed)
        await _questions.Questions({"history": route}).serve(cast("Link", link))
        try:
            return await _questions.ask(cast("Link", Said(*link.sent)), "history", b"?") if link.sent else None
        except LinkError as refused:
            return refused

    return asyncio.run(answered())


def answered(*packed: bytes) -> object:
    """What a member may answer."""
    return asyncio.run(_questions.ask(cast("Link", Said(*packed)), "history", b"?"))


def comparison(frame: bytes) -> object:
    """Sums, or rows that prove themselves, of a peer that has been shown our sums."""
    rows = proven.Proven(Origin(1), MemoryLog())
    rows.write("k", "value")
    ours = Comparison("", 0, rows, rows, interval_s=1.0, jitter=random.Random(1), now=0.0)
    ours.peer_counted(messages.Compare(space=0, vector=rows.hello()[0], sums=bytes(messages.SUM_BYTES)), 0.0)
    shown = list(taken(ours.outgoing()))
    said = decoding.decode(frame)
    if isinstance(said, messages.Compare):
        ours.peer_counted(messages.Compare(space=0, vector=rows.hello()[0], sums=said.sums), 0.0)
    elif isinstance(said, messages.Mend):
        ours.peer_mended(said)
    return shown, list(taken(ours.outgoing()))


def certificate(packed: bytes) -> object:
    shown = parse_certificate(packed)
    return holder(shown), issued_by(shown, shown)


def addresses(packed: bytes) -> object:
    """Of a member's presence row."""
    found = _addresses.parse_addresses(_values.thaw("k", Packed(packed)))
    assert all(0 < address.port < 1 << 16 for address in found)
    return found


def segment(packed: bytes) -> object:
    return records.decode_header(packed), records.foreign_format(packed), records.scan_chunk(packed, 64, 1, _SEED)


def path(packed: bytes) -> object:
    return _paths.parse(packed.decode("utf-8", "replace"))


DECODERS: Final[dict[str, Decoder]] = {
    **replica.DECODERS,
    **fleet.DECODERS,
    "frames": (frames, PeerProtocolError),
    "hello": (link_messages.unpack_hello, PeerProtocolError),
    "answer": (lambda packed: link_messages.check_answer(packed, _ROOT, "gossip"), ANSWERS),
    "ask": (_asks.unpack_ask, PeerProtocolError),
    "comparison": (comparison, PeerProtocolError),
    "items": (items, ()),
    "join request": (join_request, PeerProtocolError),
    "join answer": (join_answer, (IdentityError, LinkError)),
    "grant": (grant, (IdentityError, LinkError)),
    "question": (lambda packed: question(packed, DOTS), (PeerProtocolError, ClosedError)),
    "dots": (lambda packed: question(QUESTION, packed), PeerProtocolError),
    "asked": (asked, PeerProtocolError),
    "answer head": (lambda packed: answered(packed, ANSWER), ANSWERS),
    "answer piece": (lambda packed: answered(HEAD, packed), PeerProtocolError),
    "certificate": (certificate, IdentityError),
    "addresses": (addresses, StoreCorrupt),
    "baton": (baton._decode, ()),
    "cell": (lambda packed: _counter._read(Packed(packed)), ()),
    "invite": (lambda packed: Invite.decode(packed.decode("latin-1")), IdentityError),
    "segment": (segment, ()),
    "value": (lambda packed: _values.thaw("k", Packed(packed)), StoreCorrupt),
    "path": (path, ()),
}

CARRIED: Final = (
    *("message", "rows", "comparison", "hello", "answer", "join request", "join answer", "question", "dots"),
    *("asked", "answer head", "answer piece"),
)
"""What a link carries a frame at a time."""


PROVEN: Final = proven.Name("key", replica.NEXT)
MENDED: Final = stream.chunks(None, [(proven.packed([(PROVEN, proven.signed(PROVEN, "value"))]), b"")] * 2, 10**6)


GOOD: Final[Mapping[str, list[bytes]]] = {
    **replica.GOOD,
    **fleet.GOOD,
    "frames": [encode_frame(b"one") + encode_frame(bytes(100))],
    "hello": [
        link_messages.pack_hello(link_messages.Hello("gossip", nonce=b"n" * 16)),
        link_messages.pack(["propagul", 1, "gossip"]),
    ],
    "answer": [link_messages.pack_ok(), *map(link_messages.pack_refusal, link_messages.RefusalCode)],
    "ask": [_asks.pack_ask(_asks.Dial(b"n" * 16)), _asks.pack_ask(_asks.Undialed(b"n" * 16, _asks.Why.BUSY))],
    "comparison": [
        messages.encode(messages.Compare(space=0, vector=bytes(16), sums=bytes(messages.SUMS * messages.SUM_BYTES))),
        *(
            messages.encode(messages.Mend(space=0, last=piece.last, chunk=piece.chunk))
            for piece in MENDED
            if isinstance(piece, stream.Piece)
        ),
    ],
    "items": replica.GOOD["stream"],
    "join request": [REQUEST],
    "join answer": [GRANTED],
    "grant": [GRANT],
    "question": [QUESTION],
    "dots": [DOTS],
    "asked": [_questions.packed_question("history", {"names": ["cpu"], "start_s": 0.0})],
    "answer head": [HEAD, link_messages.pack(["refused", "busy"])],
    "answer piece": [ANSWER],
    "certificate": [ssl.PEM_cert_to_DER_cert(pem) for pem in (ISSUER.certificate_pem, *ISSUER.ca_pems)],
    "addresses": [wire.pack([[["192.0.2.1", 9000], ["box.local", 1]]])[1:]],
    "baton": [baton._encode(baton.Baton(log_id="log", boot_id="boot", stamps={"": (7, 9)}))],
    "cell": [Cell(3, 2, 1, 0).packed()],
    "invite": [INVITE.encode().encode()],
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
    replay = f"replay: python -m tests.fuzz {seed}"
    for name, frame in replica.mutants(FRAMES, seed, GOOD, list(decoders)):
        for packed in (frame, chance.randbytes(chance.randrange(40))):
            give(name, packed, replay, decoders)
    for name, frame in fleet.twisted(A_SEED - 2 * FRAMES, seed):
        give(name, frame, replay, decoders)


def give(name: str, packed: bytes, replay: str, decoders: Mapping[str, Decoder] = DECODERS) -> None:
    """Give a frame to a decoder, and once more as a connection delivers it.

    Raises:
        Fault: It raised anything but its own error.
    """
    decode, error = decoders[name]
    for form in (packed, carried(packed)) if name in CARRIED and len(packed) <= FRAME_BYTES_MAX else (packed,):
        try:
            decode(form)
        except error:
            pass
        except Exception as fault:
            raise Fault(f"{name}: {type(fault).__name__}: {fault}\n{packed.hex()}\n{replay}") from fault


def main(first: int, seconds: float = 0.0) -> None:
    """Attack with seeds from the first one on until the time is up, and with one at least."""
    deadline, seed = time.monotonic() + seconds, first
    while seed == first or time.monotonic() < deadline:
        attack(seed)
        seed += 1
    print(f"{(seed - first) * A_SEED} frames, 0 failures; go on with FROM={seed}")


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:3]))
