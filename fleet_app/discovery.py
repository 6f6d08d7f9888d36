"""Finding the other boxes of one's fleet on the LAN by mDNS (RFC 6762) and DNS-SD (RFC 6763).

What is announced is all that anyone on the LAN learns: that a node of some room is here. It holds a tag of the room, a
short node id and the protocol version; no names, no models, no secret. Anyone may announce anything, so what is found
here is only an address to try: the link proves who is there. A LAN without multicast is a notice in the log, never an
error.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from typing import TYPE_CHECKING

from zeroconf import (
    BadTypeInNameException,
    Error,
    InterfaceChoice,
    IPVersion,
    NonUniqueNameException,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from propagul.link.base import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from propagul.link.base import NodeId

logger = logging.getLogger(__name__)

SERVICE = "_propagul._tcp.local."
PROTOCOL_VERSION = "1"
SHORT_ID_CHARACTERS = 16
_ADDRESSES_MAX = 256
_WAITING_MAX = 64
_ASK_TIMEOUT_MS = 3000


class LanDiscovery:
    """Announces this node on the LAN and reports where nodes with the same room tag listen.

    `found` is called on the event loop, once for each address until its announcement is withdrawn. At most
    `_ADDRESSES_MAX` addresses are reported in all at a time: announcements cost a stranger nothing.
    """

    def __init__(
        self,
        *,
        room_tag: str,
        node: NodeId,
        port: int,
        addresses: Sequence[str],
        found: Callable[[Address], None],
        interfaces: Sequence[str] | None = None,
    ) -> None:
        """Take what to announce.

        Args:
            room_tag: The same for all nodes of a room, and telling nothing of its secret.
            node: This node's identity; the first characters of it are announced.
            port: Where this node listens.
            addresses: IP addresses of this node on the LAN; host names among them are left out. Without any it looks
                for others and announces nothing.
            found: Takes each address that was found.
            interfaces: IP addresses of the interfaces to use; all of them when None.
        """
        self._room_tag, self._short_id, self._found = room_tag, node[:SHORT_ID_CHARACTERS], found
        self._service = _service(self._short_id, room_tag, port, addresses)
        self._interfaces = InterfaceChoice.All if interfaces is None else list(interfaces)
        self._reported: dict[str, set[Address]] = {}
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_WAITING_MAX)
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._asking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Announce and look. Without multicast on this machine it logs so and does nothing."""
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)
            if self._service.addresses:
                await self._zeroconf.async_register_service(self._service, cooperating_responders=True)
        except (OSError, Error, NonUniqueNameException, BadTypeInNameException) as problem:
            logger.warning("mdns.unavailable reason=%s", getattr(problem, "strerror", None) or type(problem).__name__)
            await self.aclose()
            return
        self._asking = asyncio.create_task(self._ask())  # owned: ended and awaited by aclose
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._on_change])
        logger.info("mdns.started node=%s", self._short_id)

    async def aclose(self) -> None:
        """Withdraw the announcement and stop looking. Idempotent."""
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking
        if self._zeroconf is not None:
            with contextlib.suppress(OSError, Error, TimeoutError):
                await self._zeroconf.async_close()
        self._browser = self._asking = self._zeroconf = None

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Note a changed announcement; zeroconf calls this by keyword, on the event loop."""
        del zeroconf, service_type
        if state_change is ServiceStateChange.Removed:
            self._reported.pop(name, None)
        elif not name.startswith(f"{self._short_id}."):
            with contextlib.suppress(asyncio.QueueFull):  # it will be announced again
                self._waiting.put_nowait(name)

    async def _ask(self) -> None:
        """Resolve announced names, one at a time."""
        while (zeroconf := self._zeroconf) is not None:
            service = AsyncServiceInfo(SERVICE, await self._waiting.get())
            if await service.async_request(zeroconf.zeroconf, _ASK_TIMEOUT_MS):
                self._report(service)

    def _report(self, service: AsyncServiceInfo) -> None:
        properties = service.decoded_properties
        if properties.get("room") != self._room_tag or properties.get("v") != PROTOCOL_VERSION or not service.port:
            return
        known = self._reported.setdefault(service.name, set())
        for text in service.parsed_addresses():
            address = Address(text, service.port)
            if address not in known and sum(map(len, self._reported.values())) < _ADDRESSES_MAX:
                known.add(address)
                logger.info("mdns.found address=%s", address)
                self._found(address)


def _service(short_id: str, room_tag: str, port: int, addresses: Sequence[str]) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        SERVICE,
        f"{short_id}.{SERVICE}",
        port=port,
        properties={"room": room_tag, "node": short_id, "v": PROTOCOL_VERSION},
        server=f"{short_id}.propagul.local.",
        addresses=[packed for packed in map(_packed, addresses) if packed],
    )


def _packed(address: str) -> bytes | None:
    """The bytes of an IP address; a host name has none and is not announced."""
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return None
