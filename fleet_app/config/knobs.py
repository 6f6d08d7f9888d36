"""The table of settings: what each is called, how its text is read, what it is when nobody says.

A value is text, or a list of texts, wherever it was written: on the command line, in a variable or in the file. The
functions here turn it into what the program uses and complain without saying where it stood; the caller knows that.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import platformdirs

from fleet_app.addresses import is_loopback, parse_address, ssh_line
from fleet_app.errors import ConfigError
from propagul.link.base import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Text = str | tuple[str, ...]

NAME_CHARACTERS_MAX = 64
SECRET_VARIABLE = "PROPAGUL_GOSSIP_SECRET"  # noqa: S105 - the name of a variable
CONFIG_VARIABLE = "PROPAGUL_CONFIG"
STATE_VARIABLE = "PROPAGUL_STATE_PATH"
"""Where `propagul state` looks; no setting of a node."""
KERNEL_VARIABLE = "PROPAGUL_KERNEL"
"""Whether the library uses its compiled kernel: `auto`, `on` or `off`. The library reads it."""

NOT_USED_YET: Mapping[str, bool] = {
    "PROPAGUL_KEY_SALT": True,
    "PROPAGUL_REDIS_URL": True,
    "PROPAGUL_RESEND_API_KEY": True,
    "PROPAGUL_ALERT_EMAIL": False,
    "PROPAGUL_PUBLIC_HOST": False,
}
"""Variables that are recognised and have no effect in this version, and whether their value is a secret."""

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One setting.

    Attributes:
        key: Its key in the file.
        flag: Its flag on the command line; empty where there is none.
        read: Takes the text and the directory that relative paths start from. Raises ConfigError.
        default: Its value when nobody says.
    """

    key: str
    flag: str
    read: Callable[[Text, Path], object]
    default: Callable[[], object]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"PROPAGUL_{self.key.upper()}"


def default_data_dir() -> Path:
    """Where the data of the user who runs this lives when nobody says."""
    return Path(platformdirs.user_data_dir("propagul", appauthor=False))


def default_name() -> str:
    """The host's name, as far as it is fit to be shown."""
    host = "".join(c for c in platform.node() if c.isprintable()).strip()
    return host[:NAME_CHARACTERS_MAX] or "node"


def _one(text: Text) -> str:
    if not isinstance(text, str):
        raise ConfigError("takes one value, not a list")
    if not text.strip():
        raise ConfigError("has no value; write one or leave the setting out")
    return text.strip()


def _read_list(text: Text, _: Path) -> tuple[str, ...]:
    items = tuple(re.split(r"[\s,]+", text.strip())) if isinstance(text, str) else text
    if not all(item and item.isprintable() and " " not in item for item in items):
        raise ConfigError("holds an entry that is empty or has spaces or control characters in it")
    return items


class Backend(NamedTuple):
    """An engine as it was named: its address, and the file that holds its API key, if it wants one."""

    url: str
    key_file: Path | None


def _read_backends(text: Text, base: Path) -> tuple[Backend, ...]:
    from fleet_app.backends import normalise_url  # noqa: PLC0415 - brings an HTTP client; only who names engines waits

    items = (item.partition("=") for item in (_read_list(text, base) if isinstance(text, str) else text))
    return tuple(Backend(normalise_url(url), _read_path(file, base) if mark else None) for url, mark, file in items)


def _read_name(text: Text, _: Path) -> str:
    name = _one(text)
    if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise ConfigError(f"a name has 1 to {NAME_CHARACTERS_MAX} printable characters; choose another one")
    return name


def _read_path(text: Text, base: Path) -> Path:
    path = _one(text)
    if not path.isprintable():
        raise ConfigError("a path has printable characters only")
    try:
        # `resolve` would replace links that the user chose, so only `..` and `.` go.
        return Path(os.path.abspath(base / Path(path).expanduser()))  # noqa: PTH100 - as above
    except RuntimeError as problem:
        raise ConfigError(f"{path!r} names a user this machine does not know") from problem


def _read_bool(text: Text, _: Path) -> bool:
    value = _BOOLEANS.get(_one(text).lower())
    if value is None:
        raise ConfigError("is neither true nor false")
    return value


def _read_log_format(text: Text, _: Path) -> str:
    if text not in {"text", "json"}:
        raise ConfigError("is neither text nor json")
    return str(text)


def _read_listen(text: Text, _: Path) -> Address:
    return parse_address(_one(text))


def _read_gateway(text: Text, _: Path) -> Address:
    address = parse_address(_one(text))
    if not is_loopback(address.host):
        line = ssh_line(Address("127.0.0.1", address.port), _user(), platform.node() or "HOST")
        raise ConfigError(
            f"{address} would be open to everyone, and this version has no API keys yet; "
            f"leave it on 127.0.0.1 and reach it from another machine with: {line}"
        )
    return address


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "USER"


# Listening on every address is safe because a link needs the room's secret.
_LISTEN_DEFAULT = Address("0.0.0.0", 8788)  # noqa: S104 - as above

KNOBS: Mapping[str, Knob] = {
    knob.key: knob
    for knob in (
        Knob(key="name", flag="--name", read=_read_name, default=default_name),
        Knob(key="data_dir", flag="--data-dir", read=_read_path, default=default_data_dir),
        Knob(key="listen", flag="--listen", read=_read_listen, default=lambda: _LISTEN_DEFAULT),
        Knob(key="gateway", flag="--gateway", read=_read_gateway, default=lambda: Address("127.0.0.1", 8787)),
        Knob(key="join", flag="--join", read=_read_list, default=tuple),
        Knob(key="secret_file", flag="--secret-file", read=_read_path, default=lambda: None),
        Knob(key="backends", flag="--backend", read=_read_backends, default=tuple),
        Knob(key="detect", flag="--no-detect", read=_read_bool, default=lambda: True),
        Knob(key="desired", flag="--desired", read=_read_path, default=lambda: None),
        Knob(key="watch", flag="--watch", read=_read_bool, default=lambda: False),
        Knob(key="mdns", flag="--no-mdns", read=_read_bool, default=lambda: True),
        Knob(key="allow_plaintext", flag="", read=_read_bool, default=lambda: False),
        Knob(key="log_format", flag="--log-format", read=_read_log_format, default=lambda: "text"),
    )
}

VARIABLES = (
    *(knob.variable for knob in KNOBS.values()),
    SECRET_VARIABLE,
    CONFIG_VARIABLE,
    STATE_VARIABLE,
    KERNEL_VARIABLE,
    *NOT_USED_YET,
)
"""Every environment variable that means something here."""
