"""The addresses of engines as people write them, and the one form they are kept in.

Kept: `scheme://host[:port][/path]`, lower-case host, no trailing slash and no `/v1`, so that one engine has one address
however it was typed. Credentials never stand in an address: it is shown on every node.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from fleet_app.errors import ConfigError

URL_CHARS_MAX = 256

_NAME = re.compile(r"[\w.-]+")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f\\]")
_DEFAULT_PORT = {"http": 80, "https": 443}


def normalise_url(text: str) -> str:
    """Return the kept form of an engine's address; `http` where no scheme is given.

    Raises:
        ConfigError: It is not an address of an engine; the message says why and holds no credentials.
    """
    trimmed = text.strip()
    if "@" in trimmed:
        raise ConfigError("an engine's address must not hold a user name or password; give the API key on its own")
    shown = repr(trimmed[:80])
    if not trimmed or len(trimmed) > URL_CHARS_MAX - 8 or _UNPRINTABLE.search(trimmed):
        raise ConfigError(f"{shown} is not an address; write it like http://192.168.1.20:8000")
    try:
        parts = urlsplit(trimmed if "://" in trimmed else f"http://{trimmed}")
        port = parts.port
    except ValueError:
        raise ConfigError(f"{shown} has no valid host and port; write it like http://192.168.1.20:8000") from None
    _check(parts, shown)
    host = parts.hostname or ""
    where = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    suffix = "" if port in {None, _DEFAULT_PORT[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{where}{suffix}{path}"


def _check(parts: SplitResult, shown: str) -> None:
    if parts.scheme not in _DEFAULT_PORT:
        raise ConfigError(f"{shown}: engines speak http or https")
    if parts.query or parts.fragment:
        raise ConfigError(f"{shown}: an engine's address has no ? and no #")
    if not parts.hostname or not (_NAME.fullmatch(parts.hostname) or _ip(parts.hostname)) or parts.port == 0:
        raise ConfigError(f"{shown} has no valid host and port; write it like http://192.168.1.20:8000")


def port_of(url: str) -> int:
    """The port of a kept address."""
    parts = urlsplit(url)
    return parts.port or _DEFAULT_PORT[parts.scheme]


def loopback_port(url: str) -> int | None:
    """The port of a kept address whose whole server is this machine's loopback; None for any other."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = _ip(host)
    local = host == "localhost" or (address is not None and address.is_loopback)
    return port_of(url) if local and not parts.path else None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
