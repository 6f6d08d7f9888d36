"""Which prefixes are owned where. A directory keeps what it was last told about its state.

    state/owned.json     {"format": 1, "owned": ["nodes/"]}; not there: none

Like the retention it belongs to the directory: a program that opens it without knowing of it, such as `propagul state`,
must not write over what only its owner may.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from propagul import _system
from propagul.crdt import Apart
from propagul.errors import StoreCorrupt
from propagul.log.refusal import refusals_of
from propagul.store._owned import OwnedRows, newest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from propagul.link import Credentials

FORMAT: Final = 1
FILE: Final = "owned.json"

MEMBERS: Final = "members/"
"""Under this, in presence, every store of the library tells who it is and where it listens."""


class Ownership:
    """The owned prefixes of a store.

    Args:
        room: Its room.
        credentials: Who it is; None where node ids are no keys, and nothing is owned.
        wanted: The prefixes in state and presence; None for what the directory says.
        path: The directory, if it has one.

    Raises:
        ValueError: A prefix cannot be one.
        StoreCorrupt: The directory says it no more.
        StoreError: The disk refused.
    """

    def __init__(
        self, room: str, credentials: Credentials | None, wanted: Sequence[str] | None, path: Path | None
    ) -> None:
        self._room, self._identity = room, None if credentials is None else credentials.identity
        self._prefixes = tuple(sorted(set(map(_checked, wanted or ()))))
        if path is not None and self._identity is not None:
            if wanted is None:
                self._prefixes = owned_in(path)
            else:
                _keep(path, self._prefixes)

    def of(self, space: str, *always: str) -> OwnedRows | None:
        """The owned rows of a namespace, in which some prefixes are owned anyhow; None if there are none."""
        prefixes = (*always, *self._prefixes)
        return OwnedRows(self._room, space, prefixes, self._identity) if prefixes and self._identity else None


def owned_in(path: Path) -> tuple[str, ...]:
    """The owned prefixes of a state directory.

    Raises:
        StoreCorrupt: What it says of them is damaged.
        StoreError: The disk does not give it.
    """
    file = path / FILE
    try:
        with refusals_of(f"{file} cannot be read"):
            return _owned_of(json.loads(file.read_bytes())) if file.exists() else ()
    except (ValueError, TypeError, KeyError) as error:
        raise StoreCorrupt(
            f"{file} is damaged or of a newer version: whose rows are whose is not known; open the store once with "
            "owned=[...], which writes it anew"
        ) from error


def apart_in(path: Path) -> Apart | None:
    """The join of the owned rows in a state directory, for whoever reads its logs by themselves.

    Raises:
        StoreCorrupt, StoreError: As `owned_in`.
    """
    prefixes = owned_in(path)
    return Apart(prefixes, newest) if prefixes else None


def _keep(path: Path, prefixes: tuple[str, ...]) -> None:
    try:
        is_kept = owned_in(path) == prefixes
    except StoreCorrupt:
        is_kept = False
    if not is_kept:
        with refusals_of(f"{path / FILE} cannot be written"):
            _system.write_private(path / FILE, json.dumps({"format": FORMAT, "owned": prefixes}).encode())


def _owned_of(said: dict[str, object]) -> tuple[str, ...]:
    prefixes = said["owned"]
    if said["format"] != FORMAT or type(prefixes) is not list:
        raise ValueError("written by a newer version")
    return tuple(map(_checked, prefixes))


def _checked(prefix: str) -> str:
    if type(prefix) is not str or not prefix.endswith("/") or prefix.startswith(("/", "\0")):
        raise ValueError(f"an owned prefix is a name with a slash behind it, such as 'nodes/', not {prefix!r}")
    return prefix
