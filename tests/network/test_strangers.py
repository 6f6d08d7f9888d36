"""Strangers at the port of real members: they cost little, disturb nobody and learn nothing but that it is open."""

from __future__ import annotations

import base64
import contextlib
import itertools
import ssl
import threading
from concurrent import futures
from typing import TYPE_CHECKING

import pytest

from propagul.link import Identity, NodeId, public_bytes, room_tag
from propagul.link.certificates import member_certificate
from propagul.link.credentials import tls_context
from tests.network import stranger
from tests.network.host import run
from tests.network.lab import until
from tests.network.member import Member
from tests.network.node import ROOM
from tests.network.room import GUEST, NAMES, OUTSIDE, Room

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("network-members")]

FOREIGN = "another room or another secret"
GARBAGE = "not speaking this protocol"
TWICE = ("already linked", "replaced by another link to the same node")
LATE = "no handshake within 5 s"
CROWD, ADDRESSES = 128, 32
GROWTH_KIB_MAX = 4 * 1024
CROWD_KIB_MAX, LEFT_KIB_MAX = 64 * 1024, 32 * 1024
"""What 64 at a time may cost (21 MiB on an idle machine), and ten crowds leave (60 MiB when they left garbage)."""


@pytest.fixture(scope="module")
def sources(room: Room) -> list[str]:
    """As many addresses as a crowd has."""
    outside, found = room.lab[OUTSIDE], [f"10.77.9.{number}" for number in range(1, ADDRESSES + 1)]
    for address in found:
        run("ip", "-n", outside.namespace, "addr", "add", f"{address}/16", "dev", "eth0")
    return found


@contextlib.contextmanager
def undisturbed(room: Room) -> Iterator[None]:
    """Nothing in the block costs a member a link, but the second of two to a guest, or a member out of its view."""
    dropped = {name: room[name].stat("links_dropped") for name in NAMES}
    for name in NAMES:
        room[name].look()
    yield
    for name in NAMES:
        stats, (gone, _) = room[name].ask("stats"), room[name].seen()
        assert stats["links_dropped"] == dropped[name] or stats["last_drop"].endswith(TWICE), stats["last_drop"]
        assert not gone.keys() & set(NAMES)


def test_a_crowd_that_idles_at_the_port_keeps_nobody_out(whole: Room, sources: list[str]) -> None:
    before = whole["a"].rss_kib()
    with undisturbed(whole), crowd(whole, "a", sources):
        whole.start(GUEST)  # told of a and of another
        whole["a"].set("in a crowd", 1)
        whole[GUEST].set("through a crowd", 2)
        whole.until_same()
        until(lambda: sum(whole["a"].refused().values()) >= CROWD // 2, "most are sent away and counted")
        assert whole["a"].rss_kib() - before < CROWD_KIB_MAX


@pytest.mark.long
def test_crowds_that_come_and_go_leave_nothing(whole: Room, sources: list[str]) -> None:
    """Garbage that only the collector finds would do: it counts objects, and these are few and large."""
    for number in range(10):
        with crowd(whole, "e", sources):
            pass
        if number == 0:
            before = whole["e"].rss_kib()
    assert whole["e"].rss_kib() - before < LEFT_KIB_MAX


@contextlib.contextmanager
def crowd(room: Room, name: str, sources: list[str]) -> Iterator[None]:
    """Many connections to a member on which nobody says anything; at the end all are closed."""
    before, here = room[name].descriptors(), room.lab[OUTSIDE]
    with contextlib.ExitStack() as connections:
        for source in sources * (CROWD // ADDRESSES):
            connections.enter_context(stranger.connect(here, room.lab[name], source=source))
        until(lambda: room[name].descriptors() > before + CROWD // 4, "they have come in")
        yield
    until(lambda: room[name].descriptors() < before + 8, "they are gone")


@pytest.mark.long
def test_one_byte_a_second_holds_a_place_for_five_seconds(whole: Room, sources: list[str]) -> None:
    here, there, late = whole.lab[OUTSIDE], whole.lab["b"], whole["b"].refused().get(LATE, 0)
    with undisturbed(whole), contextlib.ExitStack() as slow:
        drips = [slow.enter_context(stranger.connect(here, there, source=source)) for source in sources[:8]]
        done = threading.Event()
        threads = [threading.Thread(target=drip, args=(connection, done)) for connection in drips]
        for thread in threads:
            thread.start()
        whole["b"].set("dripped on", 1)
        whole.until_same()
        heard = [stranger.heard_on(connection) for connection in drips]
        done.set()
        for thread in threads:
            thread.join()
        assert all(heard)
        until(lambda: whole["b"].refused().get(LATE, 0) == late + 8, "all are counted")


def drip(connection: socket.socket, done: threading.Event) -> None:
    """Send the beginning of a handshake, a byte a second."""
    with contextlib.suppress(OSError):
        for byte in itertools.chain(b"\x16\x03\x03\x3f\xff", itertools.repeat(2)):
            connection.send(bytes([byte]))
            if done.wait(1.0):
                return


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 65537])
def test_a_member_that_announces_a_frame_too_long_is_closed_before_anything_is_kept(whole: Room, length: int) -> None:
    here, there, member = whole.lab[OUTSIDE], whole.lab["c"], whole["c"]
    stranger.as_member(here, there).close()
    before, dropped = member.rss_kib(), member.stat("links_dropped")
    for _ in range(4):
        with stranger.as_member(here, there) as link, contextlib.suppress(ConnectionError, ssl.SSLError):
            link.sendall(length.to_bytes(4) + bytes(60_000))
            for _ in range(256):
                link.sendall(bytes(64 * 1024))  # 16 MiB of it, if it is let
    until(lambda: member.stat("links_dropped") >= dropped + 4, "they are dropped")
    assert f"a frame of {length} bytes was announced, the limit is 65536" in member.stat("last_drop")
    assert member.rss_kib() - before < GROWTH_KIB_MAX
    whole["a"].set("after a long frame", length)
    whole.until_same()


def test_a_first_frame_too_long_is_not_waited_for(whole: Room) -> None:
    here, there, member = whole.lab[OUTSIDE], whole.lab["c"], whole["c"]
    before, garbage = member.rss_kib(), member.refused().get(GARBAGE, 0)
    context = stranger.credentials().dialer_context()
    with context.wrap_socket(stranger.connect(here, there), server_side=True) as link:
        link.sendall(b"\xff\xff\xff\xff")
        stranger.heard_on(link)
    until(lambda: member.refused().get(GARBAGE, 0) == garbage + 1, "it is counted")
    assert member.rss_kib() - before < GROWTH_KIB_MAX


# What they learn.


def secrets_of(room: Room) -> dict[str, bytes]:
    """What no stranger may hear: names, keys and certificates of the room, in every form they have."""
    ours = stranger.credentials()
    assert ours.authority is not None
    authority = ssl.PEM_cert_to_DER_cert(ours.ca_pems[0])
    words = {"room": ROOM.encode(), "tag": room_tag(ours.ca_pems[0]).encode(), "authority": authority}
    words["authority key"] = authority[-200:-140]
    for name in NAMES:
        node = NodeId(room[name].node)
        certificate = ssl.PEM_cert_to_DER_cert(ours.authority.certify(node))
        words |= {f"{name}: id": node.encode(), f"{name}: key": public_bytes(node), f"{name}: certificate": certificate}
        words |= {f"{name}: address": room.lab[name].address.encode()}
    for title in list(words):
        words[f"{title}, base64"] = base64.b64encode(words[title]).rstrip(b"=")[:-1]
        words[f"{title}, hex"] = words[title].hex().encode()
    return words


def silence(_: socket.socket) -> bytes:
    return b""


def http(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: propagul\r\n\r\n")
    return b""


def mirror(connection: socket.socket) -> bytes:
    heard = connection.recv(65536)
    connection.sendall(heard)
    return heard


def tls_client(connection: socket.socket) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return by_hand(connection, context, server_side=False)


def tls_server(connection: socket.socket) -> bytes:
    return by_hand(connection, stranger.self_made(), server_side=True)


def member_elsewhere(connection: socket.socket) -> bytes:
    """A member of a room of the same name with another secret."""
    return by_hand(connection, stranger.credentials("another-secret-of-this-room").dialer_context(), server_side=True)


def by_hand(connection: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> bytes:
    tap = stranger.Tap(context, server_side=server_side)
    tap.talk(connection)
    assert tap.certificate() is None
    return tap.heard + tap.decrypted


PROBES = [silence, http, mirror, tls_client, tls_server, member_elsewhere]


@pytest.fixture(scope="module")
def heard(room: Room) -> dict[str, bytes]:
    """What each kind of prober hears until the port closes on it; all at once, because some are let wait for 5 s."""

    def probing(probe: Callable[[socket.socket], bytes]) -> bytes:
        with stranger.connect(room.lab[OUTSIDE], room.lab["d"]) as connection:
            return probe(connection) + stranger.heard_on(connection)

    refused = sum(room["d"].refused().values())
    with futures.ThreadPoolExecutor(len(PROBES)) as pool:
        found = dict(zip((probe.__name__ for probe in PROBES), pool.map(probing, PROBES), strict=True))
    until(lambda: sum(room["d"].refused().values()) == refused + len(PROBES), "all are counted")
    return found


@pytest.mark.parametrize("probe", [probe.__name__ for probe in PROBES])
def test_a_prober_learns_no_name_no_key_and_no_certificate(room: Room, heard: dict[str, bytes], probe: str) -> None:
    assert heard[probe][:1] == b"\x16"  # a TLS record, or this shows nothing
    assert [title for title, word in secrets_of(room).items() if word in heard[probe]] == []


# Who may come in.


def test_a_member_of_a_room_with_another_secret_stays_outside(whole: Room, tmp_path: Path) -> None:
    with Member(whole.lab[GUEST], tmp_path, [whole.lab["a"]], secret="another-secret-of-this-room") as other:
        assert not other.ready().refusal
        assert "belongs to another room or another secret" in " ".join(other.ask("troubles"))
        other.set("smuggled", 1)
        refused = whole["a"].refused().get(FOREIGN, 0)
        until(lambda: whole["a"].refused().get(FOREIGN, 0) > refused, "it is refused again and again")
        assert other.linked() == set()
    assert "smuggled" not in whole.until_same()["values"]


def test_a_certificate_of_another_authority_of_the_same_name_opens_nothing(whole: Room) -> None:
    identity, refused = Identity.generate(), whole["a"].refused().get(FOREIGN, 0)
    forged = member_certificate(identity.node, Identity.generate().key)
    context = tls_context(ssl.PROTOCOL_TLS_SERVER, identity, forged, stranger.credentials().ca_pems)
    with stranger.connect(whole.lab[OUTSIDE], whole.lab["a"]) as connection:
        tap = stranger.Tap(context, server_side=True)
        tap.talk(connection)
        assert tap.certificate() is None
    until(lambda: whole["a"].refused().get(FOREIGN, 0) == refused + 1, "it is counted")


def test_an_invite_lets_one_in_once_and_only_until_it_ends(whole: Room, tmp_path: Path) -> None:
    token, ended = whole["a"].ask("invite"), whole["a"].ask("invite", expires_s=0)
    with joining(whole, tmp_path / "first", token) as first:
        assert not first.ready().refusal
        first.set("by one who was invited", 1)
        until(lambda: whole["e"].get("by one who was invited") == 1, "it is a member")
        first.stop()
    with joining(whole, tmp_path / "second", token) as second, joining(whole, tmp_path / "late", ended) as late:
        assert "refused the invite: this invite has been used" in second.ready().refusal
        assert "does not take this invite: it is expired, used or revoked" in late.ready().refusal


def joining(room: Room, path: Path, token: str) -> Member:
    """One who has an invite and no secret."""
    return Member(room.lab[GUEST], path, [room.lab["a"]], secret=None, invite=token)
