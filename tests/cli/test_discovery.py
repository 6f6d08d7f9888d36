"""Two boxes on a LAN find each other by real multicast, here on the loopback interface."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import secrets
import time
from typing import TYPE_CHECKING

import pytest
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from fleet_app.discovery import SERVICE, LanDiscovery
from propagul.link.base import Address, NodeId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf


def discovery(
    room: str, letter: str, port: int, found: list[Address], addresses: Sequence[str] = ("127.0.0.1",)
) -> LanDiscovery:
    return LanDiscovery(
        room_tag=room,
        node=NodeId(letter * 52),
        port=port,
        addresses=addresses,
        found=found.append,
        interfaces=["127.0.0.1"],
    )


@pytest.fixture
def room() -> str:
    """A room of this test alone: the loopback interface is shared with whatever else runs on this machine."""
    return secrets.token_hex(8)


async def until(condition: Callable[[], bool], deadline_s: float = 15.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.02)


def test_nodes_of_one_room_find_each_other_and_no_other_room(room: str) -> None:
    async def scenario() -> None:
        one: list[Address] = []
        two: list[Address] = []
        stranger: list[Address] = []
        nodes = [
            discovery(f"{room}-b", "c", 1003, stranger),
            discovery(room, "a", 1001, one),
            discovery(room, "b", 1002, two, ["127.0.0.1", "box.lan", "192.0.2.7"]),
        ]
        for node in nodes:
            await node.start()
        try:
            await until(lambda: len(one) == 2 and len(two) == 1)
            assert set(one) == {Address("127.0.0.1", 1002), Address("192.0.2.7", 1002)}
            assert two == [Address("127.0.0.1", 1001)]
            # A third node of the stranger's room comes last: when it is found, everything before it was handled.
            late = discovery(f"{room}-b", "d", 1004, [])
            await late.start()
            await until(lambda: bool(stranger))
            await late.aclose()
            assert stranger == [Address("127.0.0.1", 1004)]
            assert len(one) == 2
        finally:
            for node in nodes:
                await node.aclose()

    asyncio.run(scenario())


def test_a_node_that_left_and_came_back_is_reported_again(room: str) -> None:
    async def scenario() -> None:
        found: list[Address] = []
        watcher = discovery(room, "e", 1, found)
        await watcher.start()
        for times in (1, 2):
            other = discovery(room, "f", 2, [])
            await other.start()
            await until(functools.partial(heard_times, found, times))
            await other.aclose()
            await until(lambda: not watcher._reported)  # its goodbye counts after a second (RFC 6762, section 10.1)
        await watcher.aclose()

    asyncio.run(scenario())


def heard_times(found: Sequence[Address], times: int) -> bool:
    return list(found) == [Address("127.0.0.1", 2)] * times


def test_the_announcement_holds_a_tag_a_short_id_and_a_version_only(room: str) -> None:
    async def scenario() -> ServiceInfo:
        node = discovery(room, "g", 7, [])
        await node.start()
        zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            seen = AsyncServiceInfo(SERVICE, f"{'g' * 16}.{SERVICE}")
            assert await seen.async_request(zeroconf.zeroconf, 5000)
            return seen
        finally:
            await zeroconf.async_close()
            await node.aclose()

    seen = asyncio.run(scenario())
    assert seen.decoded_properties == {"room": room, "node": "g" * 16, "v": "1"}
    assert (seen.port, seen.parsed_addresses(), seen.server) == (7, ["127.0.0.1"], f"{'g' * 16}.propagul.local.")


def test_a_node_without_an_address_on_the_lan_looks_and_announces_nothing(room: str) -> None:
    async def scenario() -> None:
        found: list[Address] = []
        names: set[str] = set()

        def note(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            del zeroconf, service_type, state_change
            names.add(name.partition(".")[0])

        zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[note])
        silent, other = discovery(room, "i", 9, found, ()), discovery(room, "j", 10, [])
        await silent.start()
        await other.start()
        try:
            await until(lambda: found == [Address("127.0.0.1", 10)] and "j" * 16 in names)
            assert "i" * 16 not in names
        finally:
            await browser.async_cancel()
            await zeroconf.async_close()
            await silent.aclose()
            await other.aclose()

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # zeroconf drops a half-open socket
def test_a_machine_without_multicast_is_told_so_in_the_log_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        node = LanDiscovery(
            room_tag="t",
            node=NodeId("h" * 52),
            port=1,
            addresses=["127.0.0.1"],
            found=lambda _: None,
            interfaces=["203.0.113.9"],  # not an address of this machine
        )
        await node.start()
        await node.aclose()
        await node.aclose()

    with caplog.at_level(logging.WARNING, "fleet_app.discovery"):
        asyncio.run(scenario())
        gc.collect()
    assert [record.getMessage().split()[0] for record in caplog.records] == ["mdns.unavailable"]
