"""Stores by one line of text, as the settings of programs name them.

    state/                                              a directory, shared by any number of processes of this machine
    memory://                                           a store of its own, in memory
    propagul://room@host:port,host2:port?secret_file=F  a room of several machines: the addresses of some of them

After the addresses may stand `secret_file` (a file whose text is the room's secret), `path` (a directory) and `listen`
(a port). The rule of this file: a secret never stands in the line, and no message repeats what might be one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypedDict, TypeVar, Unpack, cast, overload
from urllib.parse import parse_qsl, unquote

from propagul.errors import LocalProtocolError
from propagul.log.formats import read_label
from propagul.store._store import AgentStateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from propagul.gossip import GossipConfig
    from propagul.link import Credentials
    from propagul.store._retention import Retention
    from propagul.store._values import Limits

T = TypeVar("T")

DEFAULT_ROOM: Final = "agents"

_SCHEME: Final = "propagul://"
_MEMORY: Final = "memory://"
_EXAMPLE: Final = "propagul://my-room@192.168.1.2:9000,192.168.1.3:9000?secret_file=secret.txt&path=state"
_NAMES: Final = ("secret_file", "path", "listen")
_SECRETIVE: Final = ("secret", "password", "passwd", "token", "key")


class StoreOptions(TypedDict, total=False):
    """What `connect` passes on to `AgentStateStore`, where it is described."""

    node_id: int | str
    host: str | None
    secret: str | bytes | None
    limits: Limits | None
    config: GossipConfig | None
    credentials: Credentials | None
    advertise: Sequence[tuple[str, int]] | None
    alone: bool
    durability: str
    retention: Retention | None
    memory_bytes: int
    pins: str | Collection[str] | None
    owned: Sequence[str] | None
    verify: str | None
    leaf: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What a line says."""

    room: str = ""
    path: Path | None = None
    port: int | None = None
    peers: tuple[tuple[str, int], ...] = ()
    secret_file: Path | None = None


class Connection(Generic[T]):
    """A store that is opened and started where a `with` or an `async with` begins, and closed where it ends.

    With `with` it runs in a thread of its own, with `async with` in your event loop; it replicates either way.
    """

    def __init__(self, opened: Callable[[], AgentStateStore], wrap: Callable[[AgentStateStore], T]) -> None:
        self._opened, self._wrap = opened, wrap
        self._store: AgentStateStore | None = None

    def __enter__(self) -> T:
        store = self._open()
        try:
            store.start_background()
            return self._wrap(store)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    async def __aenter__(self) -> T:
        store = self._open()
        try:
            await store.start()
            return self._wrap(store)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.stop()

    def _open(self) -> AgentStateStore:
        if self._store is not None:
            raise LocalProtocolError("this connection is open already; call `connect` again for another one")
        self._store = self._opened()
        return self._store


@overload
def connect(
    conn_string: str | os.PathLike[str], *, room: str | None = None, **options: Unpack[StoreOptions]
) -> Connection[AgentStateStore]: ...


@overload
def connect(
    conn_string: str | os.PathLike[str],
    wrap: Callable[[AgentStateStore], T],
    *,
    room: str | None = None,
    **options: Unpack[StoreOptions],
) -> Connection[T]: ...


def connect(
    conn_string: str | os.PathLike[str],
    wrap: Callable[[AgentStateStore], T] | None = None,
    *,
    room: str | None = None,
    **options: Unpack[StoreOptions],
) -> Connection[T] | Connection[AgentStateStore]:
    """The store that one line of text names, for a `with` or an `async with`, which opens, starts and closes it.

    Args:
        conn_string: A directory, `memory://`, or `propagul://room@host:port,...`; see the head of this file.
        wrap: Makes of the started store what the block gets; without it the block gets the store.
        room: The room's name, `agents` if neither this, the line nor the directory says.
        options: For `AgentStateStore`.

    Raises:
        ValueError: The line is none of these forms; the message shows one.
    """
    target = _parse(os.fspath(conn_string), room)

    def opened() -> AgentStateStore:
        given = options
        if target.secret_file is not None:
            given = cast("StoreOptions", {**options, "secret": _secret_in(target.secret_file)})
        name = target.room or room or _room_of(target.path)
        return AgentStateStore(name, port=target.port, path=target.path, peers=target.peers, **given)

    return Connection(opened, lambda store: store) if wrap is None else Connection(opened, wrap)


def _room_of(path: Path | None) -> str:
    label = None if path is None else read_label(path)
    return DEFAULT_ROOM if label is None else label.room


def _parse(line: str, room: str | None) -> _Target:
    if line == _MEMORY:
        return _Target()
    if line.startswith(_SCHEME):
        return _parse_url(line.removeprefix(_SCHEME), room)
    scheme, colon, _ = line.partition("://")
    if colon:
        raise ValueError(f"{scheme[:20]!r} is no kind of store: give a directory, {_MEMORY} or {_EXAMPLE}")
    if not line:
        raise ValueError(f"an empty line names no store: give a directory such as state/, {_MEMORY} or {_EXAMPLE}")
    return _Target(path=Path(line))


def _parse_url(rest: str, room: str | None) -> _Target:
    place, _, query = rest.partition("?")
    name, at, addresses = place.rpartition("@")
    if ":" in name or "@" in name:
        raise _no_secrets("a password")
    name = unquote(name) if at else ""
    if at and not name:
        raise ValueError(f"there is no room before the @, as in {_EXAMPLE}")
    if name and room and name != room:
        raise ValueError(f"the line names the room {name!r} and `room` says {room!r}; leave one of them out")
    asked = _parse_query(query)
    peers = tuple(_address(text) for text in addresses.split(",")) if addresses else ()
    if not peers and "listen" not in asked:
        raise ValueError(f"no address to dial and no port to listen on, as in {_EXAMPLE}")
    return _Target(
        room=name,
        path=Path(asked["path"]) if "path" in asked else None,
        port=_port(asked["listen"], "listen") if "listen" in asked else None,
        peers=peers,
        secret_file=Path(asked["secret_file"]) if "secret_file" in asked else None,
    )


def _parse_query(query: str) -> dict[str, str]:
    asked: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _NAMES:
            if any(word in name.lower() for word in _SECRETIVE):
                raise _no_secrets("a secret")
            told = repr(name[:20]) if value else "one of the names"
            raise ValueError(f"{told} after the ? is not known; there may be {', '.join(_NAMES)}, as in {_EXAMPLE}")
        if not value or name in asked:
            raise ValueError(f"{name} must be given once and not be empty, as in {_EXAMPLE}")
        asked[name] = value
    return asked


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host) or "/" in text:
        raise ValueError(f"an address is host:port, separated by commas, as in {_EXAMPLE}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("an IPv6 address stands in brackets, as in propagul://my-room@[fd00::1]:9000")
    return host.strip("[]"), _port(port, "an address")


def _port(text: str, where: str) -> int:
    lowest = 0 if where == "listen" else 1
    if not (text.isascii() and text.isdigit() and lowest <= int(text[:6]) <= 65535 and len(text) <= 5):
        raise ValueError(f"the port of {where} is a number up to 65535, as in {_EXAMPLE}")
    return int(text)


def _secret_in(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"the secret_file {str(path)!r} cannot be read: {why}") from None
    if not secret:
        raise ValueError(f"the secret_file {str(path)!r} is empty; it holds the room's secret and nothing else")
    return secret


def _no_secrets(what: str) -> ValueError:
    return ValueError(f"{what} may not stand in the line; put it in a file and name that, as in {_EXAMPLE}")
