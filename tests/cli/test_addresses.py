"""What is advertised, what counts as this machine, and how a person gets to it."""

from __future__ import annotations

import socket

import pytest

from fleet_app.addresses import (
    advertised,
    free_port_near,
    has_display,
    interfaces,
    is_loopback,
    on_lan,
    parse_address,
    ssh_line,
)
from fleet_app.errors import ConfigError
from propagul._interfaces import Interface
from propagul.link.base import Address

LOOPBACK = Interface("lo", ("127.0.0.1", "::1"))
ETHERNET = Interface("eth0", ("fd00::2", "fe80::1", "192.168.1.2", "169.254.3.4"))
BRIDGES = [
    Interface(name, ("172.17.0.1",))
    for name in (
        "docker0",
        "br-0123456789ab",
        "veth1a2b",
        "virbr0",
        "cni0",
        "cni-podman0",
        "podman1",
        "docker_gwbridge",
        "lxcbr0",
        "lxdbr0",
        "incusbr0",
        "flannel.1",
        "cali1234",
        "vnet3",
        "vmnet8",
        "vboxnet0",
        "bridge100",
        "vEthernet (WSL)",
        "vEthernet (WSL (Hyper-V firewall))",
        "vEthernet (Default Switch)",
        "VMware Network Adapter VMnet8",
        "VirtualBox Host-Only Network",
    )
]
TAILSCALE = Interface("tailscale0", ("fd7a:115c:a1e0::5", "100.101.102.103", "fe80::9"))
WIREGUARD = Interface("wg0", ("10.8.0.2",))
ON_A_MAC = Interface("utun4", ("100.64.0.9", "fe80::a"))


def hosts(listen: str, *among: Interface) -> list[str]:
    return [address.host for address in advertised(parse_address(listen), among)]


def called_out(listen: str, *among: Interface) -> list[str]:
    return [address.host for address in on_lan(parse_address(listen), among)]


def test_a_listener_everywhere_advertises_what_another_box_can_dial() -> None:
    assert hosts("0.0.0.0:1", LOOPBACK, *BRIDGES, ETHERNET) == ["192.168.1.2"]
    assert hosts("[::]:1", LOOPBACK, *BRIDGES, ETHERNET) == ["fd00::2"]
    assert [a.host for a in advertised(Address("", 1), [LOOPBACK, ETHERNET])] == ["192.168.1.2", "fd00::2"]


def test_the_lan_bridge_of_a_router_is_no_container_bridge() -> None:
    assert hosts("0.0.0.0:1", Interface("br-lan", ("192.168.1.1",)), Interface("br0", ("10.0.0.1",))) == [
        "192.168.1.1",
        "10.0.0.1",
    ]


@pytest.mark.parametrize(
    ("ports", "carries_the_lan"),
    [
        (("eth0",), True),
        (("enp3s0", "tap100i0", "veth1"), True),
        (("bond0.7",), True),
        (("veth1a2b", "veth3c4d"), False),
        (("vnet0",), False),
        ((), False),
    ],
)
def test_a_bridge_of_any_name_counts_by_what_hangs_on_it(ports: tuple[str, ...], carries_the_lan: bool) -> None:  # noqa: FBT001
    bridge = Interface("br-test", ("10.9.0.1",), ports)
    assert hosts("0.0.0.0:1", LOOPBACK, bridge) == (["10.9.0.1"] if carries_the_lan else ["127.0.0.1"])


def test_a_switch_of_hyper_v_that_the_user_made_may_carry_the_lan() -> None:
    assert hosts("0.0.0.0:1", Interface("vEthernet (LAN)", ("192.168.1.4",))) == ["192.168.1.4"]


def test_members_are_told_of_a_vpn_after_the_lan_and_the_lan_is_not() -> None:
    among = (LOOPBACK, TAILSCALE, WIREGUARD, ON_A_MAC, *BRIDGES, ETHERNET)
    assert hosts("0.0.0.0:1", *among) == ["192.168.1.2", "100.101.102.103", "10.8.0.2", "100.64.0.9"]
    assert hosts("[::]:1", *among) == ["fd00::2", "fd7a:115c:a1e0::5"]
    assert called_out("0.0.0.0:1", *among) == ["192.168.1.2"]
    assert called_out("[::]:1", *among) == ["fd00::2"]


def test_on_a_box_with_nothing_but_a_vpn_nothing_is_called_out() -> None:
    assert hosts("0.0.0.0:1", LOOPBACK, WIREGUARD) == ["10.8.0.2"]
    assert called_out("0.0.0.0:1", LOOPBACK, WIREGUARD) == []


def test_one_address_is_called_out_if_it_is_the_lans() -> None:
    among = (LOOPBACK, ETHERNET, WIREGUARD, *BRIDGES)
    assert called_out("192.168.1.2:5", *among) == ["192.168.1.2"]
    for host in ("127.0.0.1", "10.8.0.2", "172.17.0.1", "box.lan", "203.0.113.1"):
        assert called_out(f"{host}:5", *among) == [], host


def test_loopback_is_advertised_when_there_is_nothing_else() -> None:
    assert hosts("0.0.0.0:1", LOOPBACK, *BRIDGES) == ["127.0.0.1"]
    assert hosts("[::]:1", LOOPBACK) == ["::1"]


def test_a_listener_on_one_address_advertises_that_one() -> None:
    for text in ("127.0.0.1:5", "[fe80::1]:5", "box.lan:5", "172.17.0.1:5"):
        assert advertised(parse_address(text), [LOOPBACK, ETHERNET]) == (parse_address(text),)


def test_this_machine_has_a_loopback_interface_and_something_to_advertise() -> None:
    assert any("127.0.0.1" in nic.addresses for nic in interfaces())
    assert advertised(Address("0.0.0.0", 1))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost.", "::ffff:127.0.0.1"])
def test_a_loopback_host_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.1", "localhost.example", "128.0.0.1", "", "::ffff:8.8.8.8"]
)
def test_any_other_host_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_display_is_seen_only_by_who_sits_before_it() -> None:
    assert has_display({"DISPLAY": ":0"}, "linux")
    assert has_display({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert has_display({}, "darwin")
    assert has_display({}, "win32")
    assert not has_display({}, "linux")
    assert not has_display({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "a 1 b 2"}, "linux")
    assert not has_display({"SSH_CONNECTION": "a 1 b 2"}, "darwin")


def test_the_ssh_line_brings_the_gateway_to_the_same_port() -> None:
    assert ssh_line(Address("127.0.0.1", 8787), "me", "box") == "ssh -L 8787:127.0.0.1:8787 me@box"
    assert ssh_line(Address("::1", 9), "me", "box") == "ssh -L 9:[::1]:9 me@box"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_stepped_over(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port_near(host, port) <= port + 50
    assert free_port_near(host, port) == port


def test_when_every_port_is_taken_the_complaint_names_them() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"ports {port} to {port} on 127.0.0.1 are all taken"):
            free_port_near("127.0.0.1", port, tries=1)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="not an address of this machine"):
        free_port_near("203.0.113.1", 8787)
