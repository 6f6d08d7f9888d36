"""Finding the running node, also when it was started as another user.

`sudo propagul fleet up` and `propagul fleet status` use different data directories. When nothing runs on ours, those
of root, of whoever called sudo and of this user are looked at, and the complaint says what was found there.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fleet_app.admin import AdminClient, NodeFile, running_node
from fleet_app.config import default_data_dir
from fleet_app.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT_GATEWAY = ("127.0.0.1", 8787)


class Place(NamedTuple):
    """A data directory that a node may run on, and whose default it is; an empty user is the one who asks."""

    user: str
    data_dir: Path


def client_of_running_node(data_dir: Path) -> AdminClient:
    """Return a client of the node on `data_dir`.

    Raises:
        FleetError: None runs there; one line that says how to start it, or under which user one runs.
    """
    if running_node(data_dir) is None:
        hint = hint_of_another_node(data_dir)
        if hint:
            raise FleetError(f"no node runs on {data_dir}, but {hint}")
    return AdminClient.from_data_dir(data_dir)


def hint_of_another_node(data_dir: Path) -> str:
    """Say where a node runs, or seems to, that uses another directory than `data_dir`; empty if none does."""
    return _hint([place for place in places(os.environ, Path.home()) if place.data_dir != data_dir])


def places(environ: Mapping[str, str], home: Path) -> list[Place]:
    """Return the default data directories of root, of whoever called sudo, and of this user, each once."""
    users = {"root": _home_of("root"), environ.get("SUDO_USER", ""): _home_of(environ.get("SUDO_USER", ""))}
    found = [Place(user, _data_dir_under(place, home)) for user, place in users.items() if place is not None]
    known = {place.data_dir for place in found}
    return found + [Place("", default_data_dir()) for _ in range(default_data_dir() not in known)]


def _home_of(user: str) -> Path | None:
    if not user or sys.platform == "win32":
        return None
    try:
        return Path(f"~{user}").expanduser()
    except RuntimeError:
        return None


def _data_dir_under(other_home: Path, home: Path) -> Path:
    """The default data directory of a user with `other_home`: it stands there where ours stands in `home`."""
    ours = default_data_dir()
    return other_home / (ours.relative_to(home) if ours.is_relative_to(home) else Path(".local/share/propagul"))


def _hint(others: list[Place]) -> str:
    """Say what runs in one of `others`, or that one of them could not be looked at while something answers."""
    hidden = ""
    for place in others:
        try:
            node = running_node(place.data_dir)
        except FleetError:
            hidden = place.user
            continue
        if node is not None:
            return _found(place, node)
    if hidden and _something_answers():
        return f"something answers at 127.0.0.1:8787; if {hidden} started it, ask as {hidden} (sudo -u {hidden} ...)"
    return ""


def _found(place: Place, node: NodeFile) -> str:
    whose = f"user {place.user}'s" if place.user else "your own"
    return f"{node.name!r} runs on {whose} {place.data_dir}; ask it with: --data-dir {place.data_dir}"


def _something_answers() -> bool:
    try:
        with socket.create_connection(_DEFAULT_GATEWAY, timeout=1):
            return True
    except OSError:
        return False
