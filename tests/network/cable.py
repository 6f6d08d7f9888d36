"""A cable with a length: what goes in at one end comes out at the other a while later.

Two TAP devices, one at each end, and a thread that carries frames between them. It stands where a veth pair would, so
every rule of the switch holds for it too. Kernels without netem have nothing shorter.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import select
import struct
import threading
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.network.host import Host

TUN: Final = "/dev/net/tun"

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 2
_IFF_NO_PI: Final = 0x1000
_FRAME_BYTES_MAX: Final = 2048
_FRAMES_MAX: Final = 4096
"""In flight in one direction; later ones are lost, as in a full queue."""


class Cable:
    """Carries frames between two interfaces from entering to leaving.

    Args:
        near: A host and the name of the interface that is one end.
        far: The same for the other end.
        one_way_ms: How long a frame takes, in each direction.
    """

    def __init__(self, near: tuple[Host, str], far: tuple[Host, str], one_way_ms: float) -> None:
        self._ends = (near, far)
        self._one_way_s = one_way_ms / 1000
        self._taps: list[int] = []
        self._stop = threading.Event()
        self._carrier = threading.Thread(target=self._carry, name="cable", daemon=True)

    def __enter__(self) -> Self:
        try:
            for host, name in self._ends:
                self._taps.append(_tap(host, name))
        except BaseException:
            self._close()
            raise
        self._carrier.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._carrier.join()
        self._close()

    def _close(self) -> None:
        for tap in self._taps:
            os.close(tap)

    def _carry(self) -> None:
        one, other = self._taps
        opposite = {one: other, other: one}
        flying: collections.deque[tuple[float, int, bytes]] = collections.deque()
        while not self._stop.is_set():
            wait_s = min(0.1, max(0.0, flying[0][0] - time.monotonic())) if flying else 0.1
            ready, _, _ = select.select(self._taps, [], [], wait_s)
            due = time.monotonic() + self._one_way_s
            for tap in ready:
                flying.extend((due, opposite[tap], frame) for frame in _frames(tap) if len(flying) < _FRAMES_MAX)
            while flying and flying[0][0] <= time.monotonic():
                _, tap, frame = flying.popleft()
                with contextlib.suppress(OSError):  # an interface that is down, or a full queue: the frame is lost
                    os.write(tap, frame)


def _frames(tap: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # there are no more, or the interface is down
        while True:
            yield os.read(tap, _FRAME_BYTES_MAX)


def _tap(host: Host, name: str) -> int:
    """Make a TAP device on a host; it lives as long as the descriptor."""
    with host.inside():
        tap = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    except BaseException:
        os.close(tap)
        raise
    return tap
