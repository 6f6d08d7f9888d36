"""What a real node tells of where it is, on a box with a LAN, a VPN and bridges of containers."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

import pytest

from fleet_app.discovery import SERVICE
from tests.fleet.boxes import node, wait_for
from tests.fleet.netns import Namespace, cable, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAN, VPN, CONTAINERS, DOCKER = "10.77.0.1", "100.101.0.1", "172.30.0.1", "172.17.0.1"

ADVERTISED = """
import json
from fleet_app.addresses import advertised, interfaces, on_lan
from propagul.link.base import Address
everywhere = Address("0.0.0.0", 1)
print(json.dumps({
    "up": [nic.name for nic in interfaces()],
    "members": [address.host for address in advertised(everywhere)],
    "lan": [address.host for address in on_lan(everywhere)],
}))
"""

HEARD = f"""
import asyncio, json, sys
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf
async def main():
    zeroconf = AsyncZeroconf(interfaces=[sys.argv[2]], ip_version=IPVersion.V4Only)
    seen = AsyncServiceInfo("{SERVICE}", f"{{sys.argv[1]}}.{SERVICE}")
    assert await seen.async_request(zeroconf.zeroconf, 15000), "not heard of"
    await zeroconf.async_close()
    print(json.dumps([seen.parsed_addresses(), seen.port]))
asyncio.run(main())
"""


@pytest.fixture
def box() -> Iterator[tuple[Namespace, Namespace]]:
    """A box with all four kinds of interfaces, and another one on its LAN."""
    with contextlib.ExitStack() as stack:
        ours, theirs = stack.enter_context(namespace()), stack.enter_context(namespace())
        cable(ours, "eth0", theirs, "eth0")
        ours.give("eth0", f"{LAN}/24")
        theirs.give("eth0", "10.77.0.2/24")
        cable(ours, "tailscale0", theirs, "tailscale0")
        ours.give("tailscale0", f"{VPN}/10")
        theirs.give("tailscale0", "100.101.0.2/10")
        for bridge, address in (("br-test", CONTAINERS), ("docker0", DOCKER), ("spare", "172.31.0.1")):
            ours.bridge(bridge, f"{address}/16", theirs)
        yield ours, theirs


def test_bridges_are_left_out_and_a_vpn_is_for_members_only(box: tuple[Namespace, Namespace]) -> None:
    said = json.loads(box[0].run(sys.executable, "-c", ADVERTISED))
    assert {"br-test", "docker0", "spare", "eth0", "tailscale0"} <= set(said["up"])
    assert said["members"] == [LAN, VPN]
    assert said["lan"] == [LAN]


def test_a_node_announces_its_lan_address_alone_and_tells_members_of_its_vpn_too(
    box: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    ours, theirs = box
    with node("a", tmp_path / "a", listen="0.0.0.0:0", within=ours.within(), mdns=True) as a:
        described = json.loads((a.data_dir / "node.json").read_text())
        port = a.listen[1]
        heard = theirs.run(sys.executable, "-c", HEARD, described["id"][:16], "10.77.0.2")
        assert json.loads(heard) == [[LAN], port]
        status = json.loads(
            ours.run(sys.executable, "-m", "fleet_app", "fleet", "status", "--json", "--data-dir", str(a.data_dir))
        )
        assert status["nodes"][0]["addresses"] == [f"{LAN}:{port}", f"{VPN}:{port}"]


STORES = """
import json
from propagul.link import Address
from propagul.store._addresses import advertised
print(json.dumps([[a.host for a in advertised(Address(host, 1), None)] for host in ("0.0.0.0", "::")]))
"""


def test_a_store_tells_of_no_address_that_only_the_same_cable_reaches(box: tuple[Namespace, Namespace]) -> None:
    ours, _ = box
    ours.run("ip", "route", "add", "default", "dev", "eth0")
    ours.run("ip", "-6", "route", "add", "default", "dev", "eth0")
    wait_for(lambda: "tentative" not in ours.run("ip", "-6", "addr", "show", "dev", "eth0"), 15)
    assert json.loads(ours.run(sys.executable, "-c", STORES)) == [[LAN], ["::1"]]
    ours.run("ip", "-6", "addr", "add", "fd00::1/64", "dev", "eth0", "nodad")
    assert json.loads(ours.run(sys.executable, "-c", STORES)) == [[LAN], ["fd00::1"]]


def test_a_store_on_a_network_that_leads_nowhere_else_tells_of_all_that_others_could_dial(
    box: tuple[Namespace, Namespace],
) -> None:
    ours, _ = box
    ours.run("ip", "-6", "addr", "add", "fd00::1/64", "dev", "eth0", "nodad")
    assert json.loads(ours.run(sys.executable, "-c", STORES)) == [[LAN, VPN], ["fd00::1"]]
    ours.run("ip", "link", "set", "eth0", "down")
    assert json.loads(ours.run(sys.executable, "-c", STORES)) == [[VPN], ["::1"]]
    ours.run("ip", "link", "set", "tailscale0", "down")
    assert json.loads(ours.run(sys.executable, "-c", STORES)) == [["127.0.0.1"], ["::1"]]
