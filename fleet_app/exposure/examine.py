"""From what listens and what was seen to what is exposed. Pure.

An engine answers without a key if it was looked at without one and was found ready or loading. It is reachable by
others if a socket at its port listens beyond loopback, or if the node itself reaches it over the network. Firewalls are
not asked: one that is there today is a second line, and the sentence says what holds without it.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from fleet_app.engine_names import ENGINE_NAMES
from fleet_app.exposure import remedies
from fleet_app.exposure.holes import holes_of_ollama
from fleet_app.exposure.kind import EXPOSURES_MAX, Exposure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from fleet_app.exposure.kind import Severity
    from fleet_app.exposure.sockets import Listening

_NAMELESS = {"openai", "unknown"}
_CAN_DO = {"ollama": "run, pull and delete models"}
_RANK: dict[Severity, int] = {"danger": 0, "warning": 1, "note": 2}


class Seen(Protocol):
    """What is known of an engine; `fleet_app.presence.BackendPresence` is one."""

    @property
    def kind(self) -> str:
        """Which engine."""

    @property
    def url(self) -> str:
        """Its address in the kept form."""

    @property
    def condition(self) -> str:
        """How it was found."""

    @property
    def version(self) -> str | None:
        """Its own version, if it tells."""


def ports_of(engines: Iterable[Seen]) -> frozenset[int]:
    """The ports that engines on this box may listen at."""
    return frozenset(port for engine in engines for _, port in [_place(engine.url)])


def examine(
    engines: Sequence[Seen],
    sockets: Sequence[Listening],
    addresses: Sequence[str],
    *,
    keyed: Collection[str] = (),
    platform: str = sys.platform,
) -> tuple[Exposure, ...]:
    """Return what is exposed, the worst first, at most `EXPOSURES_MAX`.

    Args:
        engines: What was seen.
        sockets: What listens at the engines' ports.
        addresses: The IP addresses of this box.
        keyed: Addresses of engines that were looked at with a key: that they answer proves nothing.
        platform: The system, as `sys.platform`.
    """
    found = [
        exposure
        for engine in engines
        for exposure in _of_engine(engine, sockets, addresses, answers=engine.url not in keyed, platform=platform)
    ]
    return tuple(sorted(found, key=lambda exposure: (_RANK[exposure.severity], exposure.url))[:EXPOSURES_MAX])


def _of_engine(
    engine: Seen, sockets: Sequence[Listening], addresses: Sequence[str], *, answers: bool, platform: str
) -> Iterator[Exposure]:
    host, port = _place(engine.url)
    is_open = answers and engine.condition in ("ready", "loading")
    doors = [door for door in sockets if door.port == port and not _is_loopback(door.host)]
    here = _is_loopback(host) or _is_every(host) or host in addresses
    reach = [ip for door in doors for ip in _reached_at(door.host, addresses)] if here else [host]
    program = next((door.program for door in doors if door.program), "") if here else ""
    there = "" if here else "on that box: "
    if is_open and reach:
        public = next(filter(_is_public, reach), "")
        yield Exposure(
            url=engine.url,
            severity="danger" if public else "warning",
            words=_open_words(engine, public) if here else _far_words(engine, public),
            remedy=there + remedies.to_close(engine.kind, port, platform, program),
        )
    holes = holes_of_ollama(engine.version) if engine.kind == "ollama" else ()
    if holes:
        more = f" (and {len(holes) - 1} older)" if len(holes) > 1 else ""
        yield Exposure(
            url=engine.url,
            severity="danger" if is_open and reach else "note",
            words=f"Ollama {engine.version} has a known hole, {holes[0].name}{more}: {holes[0].lets}; "
            f"closed in {holes[0].closed_in}",
            remedy=there + remedies.to_update_ollama(platform, program),
        )


def _open_words(engine: Seen, public: str) -> str:
    whom = f"the internet, at {public}, unless a firewall stands in between" if public else "the local network"
    port = _place(engine.url)[1]
    return f"{_name(engine)} at port {port} answers everybody on {whom} without a key: they can {_deeds(engine)}"


def _far_words(engine: Seen, public: str) -> str:
    host, port = _place(engine.url)
    net = "internet" if public else "network"
    return (
        f"{_name(engine)} at {host} answered this box over the {net} without a key: whoever reaches port {port} there "
        f"can {_deeds(engine)}"
    )


def _name(engine: Seen) -> str:
    return "the engine" if engine.kind in _NAMELESS else ENGINE_NAMES.get(engine.kind, "the engine")


def _deeds(engine: Seen) -> str:
    return _CAN_DO.get(engine.kind, "use its models")


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _reached_at(host: str, addresses: Sequence[str]) -> list[str]:
    """Under which addresses of this box a socket is reached from elsewhere; a socket on `::` takes IPv4, too."""
    if not _is_every(host):
        return [host]
    own = [other for other in addresses if not _is_loopback(other) and (host == "::" or ":" not in other)]
    return own or [host]


def _is_every(host: str) -> bool:
    address = _ip(host)
    return address is not None and address.is_unspecified


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_public(host: str) -> bool:
    address = _ip(host)
    return address is not None and address.is_global


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; one of IPv4 that is written in IPv6 is meant as what it is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
