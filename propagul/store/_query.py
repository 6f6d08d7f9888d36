"""One question between processes of a directory: have so many members logged these writes?

Only the process with the door is linked with members, so the others ask it before `flush(peers=n)` returns.

    question    [`logged`, peers, milliseconds, frames]    then so many frames [origin, stamp, origin, stamp, ...]
    answer      [`logged`, reached]                        when `peers` have, or the time is up
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from propagul.crdt import Dot, codec
from propagul.errors import LinkError, PeerProtocolError
from propagul.link.messages import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from propagul.link.base import Link

_LOGGED: Final = "logged"
_DOTS_A_FRAME: Final = 3000
_FRAMES_MAX: Final = 1000
_GRACE_S: Final = 1.0


async def ask_logged(link: Link, dots: Sequence[Dot], peers: int, timeout_s: float) -> int:
    """Ask over a fresh link how many members have logged these writes.

    Raises:
        LinkError: No answer came in time.
        ClosedError: The other end does not answer such questions now.
        PeerProtocolError: That is no answer.
    """
    pieces = [dots[start : start + _DOTS_A_FRAME] for start in range(0, len(dots), _DOTS_A_FRAME)]
    try:
        async with asyncio.timeout(timeout_s + _GRACE_S):
            await link.send(pack([_LOGGED, peers, int(timeout_s * 1000), len(pieces)]))
            for piece in pieces:
                await link.send(pack(codec.flatten((dot.origin, dot.stamp) for dot in piece)))
            return cast("int", unpack(await link.receive(), str, int)[1])
    except TimeoutError as error:
        raise LinkError("the process with the door did not answer in time") from error


async def answer_logged(link: Link, logged: Callable[[Sequence[Dot], int, float], Awaitable[int]]) -> None:
    """Answer one such question.

    Raises:
        ClosedError: Who asked is gone.
        PeerProtocolError: That is no question.
    """
    word, *numbers = unpack(await link.receive(), str, int, int, int)
    peers, milliseconds, frames = cast("list[int]", numbers[:3])
    if word != _LOGGED or not 0 <= frames <= _FRAMES_MAX:
        raise PeerProtocolError("a question this version does not know")
    dots: list[Dot] = []
    for _ in range(frames):
        flat = unpack(await link.receive(), items_max=2 * _DOTS_A_FRAME)
        dots += [Dot(stamp, origin) for origin, stamp in codec.unflatten(flat)]
    await link.send(pack([_LOGGED, await logged(dots, peers, milliseconds / 1000)]))
