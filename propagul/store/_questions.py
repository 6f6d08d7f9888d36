"""Questions between members: one a link, for what is too much to be said to all of a room.

    question  [`ask`, route, arguments]            one frame of at most 4 KiB
    answer    [`answer`, bytes, frames]            then so many frames, together that many bytes: one msgpack object
              [`refused`, code]

The routes are a table that the store is given before it starts; each reads and changes nothing. Both ends have proven
themselves before a word is said. What one member may ask is bounded: `UNDER_WAY_MAX` questions at a time, `ANSWER_S`
for each, `ANSWER_BYTES_MAX` of an answer. A refusal is a code: no text of a peer reaches people.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

import msgpack

from propagul.errors import ClosedError, LimitExceeded, LinkError, PeerProtocolError
from propagul.link.messages import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.link import Link, NodeId

    Route: TypeAlias = "Callable[[NodeId, object], Awaitable[object]]"
    """Answers for one route: who asks, with which arguments. A ValueError or TypeError says that these are wrong."""

QUESTION_BYTES_MAX: Final = 4 * 1024
ANSWER_BYTES_MAX: Final = 1024 * 1024
ANSWER_S: Final = 2.0
"""How long an answer may take, at either end."""

UNDER_WAY_MAX: Final = 4
"""Questions of one member that are answered at a time."""

ALL_UNDER_WAY_MAX: Final = 32

_ASK, _ANSWER, _REFUSED = "ask", "answer", "refused"
_PIECE_BYTES: Final = 60 * 1024

_log = logging.getLogger("propagul.store")


class _Code(enum.StrEnum):
    """Why there is no answer."""

    ROUTE = "route"
    ARGUMENTS = "arguments"
    BUSY = "busy"
    LATE = "late"
    LONG = "long"
    FAILED = "failed"


_WORDS: Final[Mapping[str, str]] = {
    _Code.ROUTE: "it does not answer {route!r}: it may run an older version",
    _Code.ARGUMENTS: "it does not understand the arguments for {route!r}",
    _Code.BUSY: "it is answering as many questions as it does at a time: ask again later",
    _Code.LATE: "it did not find the answer to {route!r} within 2 s: ask for less",
    _Code.LONG: "the answer to {route!r} is longer than 1 MiB: ask for less",
    _Code.FAILED: "its answer to {route!r} failed; its log says why",
}


class Questions:
    """Answers what members ask.

    Args:
        routes: By name.
    """

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._under_way: Counter[NodeId] = Counter()

    async def serve(self, link: Link) -> None:
        """Answer the one question of a link. Whoever only wanted to know whether we are here asks none.

        Raises:
            PeerProtocolError: It is malformed.
            ClosedError: Who asked is gone.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                frame = await link.receive()
        except (TimeoutError, ClosedError):
            return
        if len(frame) > QUESTION_BYTES_MAX:
            raise PeerProtocolError(f"a question of {len(frame)} bytes, the limit is {QUESTION_BYTES_MAX}")
        word, route, *rest = unpack(frame, str, str)
        if word != _ASK or not rest:
            raise PeerProtocolError("a question this version does not know")
        answer = await self._answer(link.peer, str(route), rest[0])
        async with asyncio.timeout(ANSWER_S):
            if isinstance(answer, _Code):
                await link.send(pack([_REFUSED, answer.value]))
                return
            pieces = [answer[at : at + _PIECE_BYTES] for at in range(0, len(answer), _PIECE_BYTES)]
            await link.send(pack([_ANSWER, len(answer), len(pieces)]))
            for piece in pieces:
                await link.send(piece)

    async def _answer(self, peer: NodeId, name: str, arguments: object) -> bytes | _Code:
        route = self._routes.get(name)
        if route is None:
            return _Code.ROUTE
        if self._under_way[peer] >= UNDER_WAY_MAX or self._under_way.total() >= ALL_UNDER_WAY_MAX:
            return _Code.BUSY
        self._under_way[peer] += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = msgpack.packb(await route(peer, arguments))
        except TimeoutError:
            return _Code.LATE
        except (ValueError, TypeError) as error:
            _log.debug("query.arguments route=%s peer=%s error=%s", name, peer, type(error).__name__)
            return _Code.ARGUMENTS
        except Exception as error:  # noqa: BLE001 # supervisor: a defect of one route ends its answer only
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error(
                "query.failed route=%s error=%s at=%s:%s", name, type(error).__name__, place.filename, place.lineno
            )
            return _Code.FAILED
        finally:
            self._under_way[peer] -= 1
            self._under_way += Counter()  # forget those who ask nothing
        return answer if len(answer) <= ANSWER_BYTES_MAX else _Code.LONG


def packed_question(route: str, arguments: object) -> bytes:
    """The question's frame.

    Raises:
        LimitExceeded: It is over 4 KiB.
        TypeError: The arguments hold what msgpack cannot carry.
    """
    question = pack([_ASK, route, arguments])
    if len(question) > QUESTION_BYTES_MAX:
        raise LimitExceeded("the question", size=len(question), limit=QUESTION_BYTES_MAX, unit="bytes")
    return question


async def ask(link: Link, route: str, question: bytes) -> object:
    """Ask over a fresh link; what comes back is the peer's word and nothing more.

    Raises:
        LinkError: It refused, or did not answer in time.
        PeerProtocolError: That is no answer.
    """
    try:
        async with asyncio.timeout(2 * ANSWER_S):
            await link.send(question)
            head = unpack(await link.receive(), str)
            match head:
                case [word, str(code), *_] if word == _REFUSED:
                    words = _WORDS.get(code, "it refused for a reason this version does not know")
                    raise LinkError(words.format(route=route))
                case [word, int(size), int(frames), *_] if (
                    word == _ANSWER and 0 < size <= ANSWER_BYTES_MAX and 0 < frames <= size
                ):
                    return _read(await _collect(link, size, frames))
                case _:
                    raise PeerProtocolError("an answer this version does not know")
    except TimeoutError:
        raise LinkError(f"it did not answer {route!r} within {2 * ANSWER_S:g} s") from None
    except ClosedError as error:
        raise LinkError(f"it hung up at {route!r}: it may run a version that answers no questions") from error


async def _collect(link: Link, size: int, frames: int) -> bytes:
    pieces = list[bytes]()
    for _ in range(frames):
        pieces.append(await link.receive())
        if sum(map(len, pieces)) > size:
            break
    whole = b"".join(pieces)
    if len(whole) != size:
        raise PeerProtocolError("an answer of another length than it said")
    return whole


def _read(packed: bytes) -> object:
    try:
        return msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise PeerProtocolError("an answer is not msgpack") from error
