"""Who may write what, and what must prove it: the rules of a store's rows. A directory keeps those of its state.

    state/owned.json     {"format": 1, "owned": ["nodes/"]}; not there: nothing is owned, and members are believed
                         {"format": 2, "owned": [], "verify": "origin"}: every row proves who wrote it

Like the retention they belong to the directory: a program that opens it without knowing of them, such as `propagul
state`, must not write over what only its owner may, nor what proves nothing where everything does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from propagul import _system
from propagul.crdt import Apart
from propagul.errors import LocalProtocolError, StoreCorrupt
from propagul.link import Identity
from propagul.log.refusal import refusals_of
from propagul.store._owned import OwnedRows, newest
from propagul.store._verified import ALL, VerifiedRows, opened, shown, unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from propagul.crdt import Block, Replica, Row
    from propagul.link import Credentials
    from propagul.store._sealed import SealedRows

FILE: Final = "owned.json"

MEMBERS: Final = "members/"
"""Under this, in presence, every store of the library tells who it is and where it listens."""

MEMBER: Final = "member"
"""The link proves who sends, and a member is believed in what it passes on."""

ORIGIN: Final = "origin"
"""Every row proves who wrote it."""


class Rules(NamedTuple):
    """The rules of a state.

    Attributes:
        owned: Prefixes under which a member writes beneath its own identity only.
        verify: `member` or `origin`.
    """

    owned: tuple[str, ...] = ()
    verify: str = MEMBER


class Reading(NamedTuple):
    """How whoever reads logs by themselves reads rows of the state.

    Attributes:
        apart: Rows with a join of their own.
        opened: A row as people see it.
        shown: Rows as people see them.
    """

    apart: Apart | None = None
    opened: Callable[[Row], Row] = lambda row: row
    shown: Callable[[Block], Block] = lambda block: block


class Ownership:
    """The rules of a store.

    Args:
        room: Its room.
        credentials: Who it is; None where node ids are no keys, and nothing is owned.
        owned: The prefixes in state and presence; None for what the directory says.
        verify: What state is believed; None for what the directory says, or `member`.
        path: The directory, if it has one.

    Raises:
        ValueError: A prefix cannot be one, or `verify` is no word for it.
        LocalProtocolError: The directory is of verified rows, and others are wanted.
        StoreCorrupt: The directory says it no more.
        StoreError: The disk refused.
    """

    def __init__(
        self,
        room: str,
        credentials: Credentials | None,
        owned: Sequence[str] | None,
        verify: str | None,
        path: Path | None,
    ) -> None:
        if verify not in (None, MEMBER, ORIGIN):
            raise ValueError(f"verify is 'member' or 'origin', not {verify!r}")
        self._room, self._path = room, path
        self._said = Rules() if path is None else _rules_in(path, spare=owned is not None)
        self._rules = Rules(
            ()
            if credentials is None
            else self._said.owned
            if owned is None
            else tuple(sorted(set(map(_checked, owned)))),
            verify or self._said.verify,
        )
        if self._said.verify == ORIGIN != self._rules.verify:
            raise LocalProtocolError(
                f"the rows in {path} prove who wrote them: it cannot be opened with verify='member'"
            )
        self._identity = None if credentials is None else credentials.identity

    def of_state(self, space: str) -> SealedRows | None:
        """The rows of the state that prove who wrote them, if there may be any."""
        if self._rules.verify == ORIGIN:
            return VerifiedRows(self._room, space, self._rules.owned, self._identity or Identity.generate())
        return self.of(space)

    def of(self, space: str, *always: str) -> OwnedRows | None:
        """The owned rows of a namespace, in which some prefixes are owned anyhow; None if there are none."""
        prefixes = (*always, *self._rules.owned)
        return OwnedRows(self._room, space, prefixes, self._identity) if prefixes and self._identity else None

    def keep(self, state: Replica) -> None:
        """Have the directory remember the rules. `state` is what our log in it holds.

        Raises:
            LocalProtocolError: Rows are to prove who wrote them, and it holds some that do not.
            StoreError: The disk refused.
        """
        if self._path is None or self._rules == self._said:
            return
        if self._rules.verify == ORIGIN != _rules_in(self._path, spare=True).verify and self._holds_more_than(state):
            raise LocalProtocolError(
                f"{self._path} holds rows that prove nothing: verify='origin' begins with an empty directory; take "
                "them over with `propagul state export` and `import`"
            )
        with refusals_of(f"{self._path / FILE} cannot be written"):
            _system.write_private(self._path / FILE, json.dumps(_told(self._rules)).encode())

    def _holds_more_than(self, state: Replica) -> bool:
        assert self._path is not None
        return len(state) > 0 or len(list(self._path.glob("log/*/"))) > 1


def reading_in(path: Path) -> Reading:
    """How the rows of the state in a directory are read.

    Raises:
        StoreCorrupt: What it says of them is damaged.
        StoreError: The disk does not give it.
    """
    rules = _rules_in(path)
    if rules.verify == ORIGIN:
        return Reading(Apart(ALL, unseen), opened, shown)
    return Reading(Apart(rules.owned, newest)) if rules.owned else Reading()


def proving_in(path: Path, room: str, space: str) -> OwnedRows | VerifiedRows | None:
    """The rows of the state in a directory that prove who wrote them, to be looked at: nobody writes with these.

    Raises:
        StoreCorrupt, StoreError: As `reading_in`.
    """
    rules, nobody = _rules_in(path), Identity.generate()
    if rules.verify == ORIGIN:
        return VerifiedRows(room, space, rules.owned, nobody)
    return OwnedRows(room, space, rules.owned, nobody) if rules.owned else None


def _rules_in(path: Path, *, spare: bool = False) -> Rules:
    """The rules that a directory says; none at all if it must not say them and is damaged."""
    file = path / FILE
    try:
        with refusals_of(f"{file} cannot be read"):
            return _rules_of(json.loads(file.read_bytes())) if file.exists() else Rules()
    except (ValueError, TypeError, KeyError) as error:
        if spare:
            return Rules()
        raise StoreCorrupt(
            f"{file} is damaged or of a newer version: whose rows are whose is not known; open the store once with "
            "owned=[...], which writes it anew"
        ) from error


def _rules_of(said: dict[str, object]) -> Rules:
    owned, verify = said["owned"], MEMBER if said["format"] == 1 else said["verify"]
    if said["format"] not in (1, 2) or type(owned) is not list or verify not in (MEMBER, ORIGIN):
        raise ValueError("written by a newer version")
    return Rules(tuple(map(_checked, owned)), str(verify))


def _told(rules: Rules) -> dict[str, object]:
    """What a version that knows of no verified rows can read, where there are none."""
    if rules.verify == MEMBER:
        return {"format": 1, "owned": rules.owned}
    return {"format": 2, "owned": rules.owned, "verify": rules.verify}


def _checked(prefix: str) -> str:
    if type(prefix) is not str or not prefix.endswith("/") or prefix.startswith(("/", "\0")):
        raise ValueError(f"an owned prefix is a name with a slash behind it, such as 'nodes/', not {prefix!r}")
    return prefix
