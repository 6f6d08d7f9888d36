"""Which members this node links with: any, those on a list, or at each address the one that answered there first.

A member's certificate proves that it belongs to the room, not that it is the machine you mean. Pins say which one that
is. They narrow down: what the room does not let in, no pin does.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Final, Protocol

from propagul._system import read_private, write_private
from propagul.errors import IdentityError
from propagul.link.base import Address, NodeId
from propagul.link.identity import public_bytes

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

PINNED_MAX: Final = 1024
"""Addresses that are remembered. One more is refused: forgetting an old one would be no pin."""


class Pins(Protocol):
    """Whom to link with."""

    def admits(self, node: NodeId) -> bool:
        """Whether a member may link with us, whoever dialled."""

    async def pinned(self, address: Address) -> NodeId | None:
        """Who must answer at an address that was dialled by name; None if that is not said.

        Raises:
            IdentityError: What was remembered cannot be read.
        """

    async def remember(self, address: Address, node: NodeId) -> None:
        """This member answers at an address; on return that survives the process.

        Raises:
            IdentityError: Another member was named there first, or it cannot be remembered.
        """

    def forget(self, host: str, port: int) -> bool:
        """Accept whoever answers at an address next; return whether somebody was remembered. From any thread.

        Raises:
            IdentityError: It cannot be forgotten.
        """


class AnyMember:
    """No pins: membership is enough. Implements `Pins`."""

    def admits(self, node: NodeId) -> bool:  # noqa: ARG002 - all are alike
        """Everybody."""
        return True

    async def pinned(self, address: Address) -> NodeId | None:  # noqa: ARG002 - all are alike
        """Nobody in particular."""
        return None

    async def remember(self, address: Address, node: NodeId) -> None:
        """Do nothing."""

    def forget(self, host: str, port: int) -> bool:  # noqa: ARG002 - all are alike
        """Do nothing."""
        return False


class AllowList(AnyMember):
    """Links with these members and with no other. Implements `Pins`.

    Raises:
        IdentityError: One of them is no node id.
    """

    def __init__(self, nodes: Collection[str]) -> None:
        for node in nodes:
            public_bytes(node)
        self._nodes = frozenset(nodes)

    def admits(self, node: NodeId) -> bool:
        """Those on the list."""
        return node in self._nodes


class FirstUse(AnyMember):
    """An address leads for ever to who answered there first, until it is forgotten. Implements `Pins`.

    The file is the truth: it is read at every dial, so that what another process forgets is forgotten here.

    Args:
        path: Where it is kept, readable by its owner only; None keeps it as long as the object lives.

    Raises:
        IdentityError: The file is there and cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, NodeId] = {}
        self._read()

    async def pinned(self, address: Address) -> NodeId | None:
        """Who answered there first."""
        return await asyncio.to_thread(self._pinned, address)

    async def remember(self, address: Address, node: NodeId) -> None:
        """Keep it, unless somebody is remembered there."""
        await asyncio.to_thread(self._remember, address, node)

    def forget(self, host: str, port: int) -> bool:
        """Drop it."""
        with self._lock:
            known = self._read()
            held = known.pop(_key(Address(host, port)), None)
            if held is not None:
                self._write(known)
            return held is not None

    def _pinned(self, address: Address) -> NodeId | None:
        with self._lock:
            return self._read().get(_key(address))

    def _remember(self, address: Address, node: NodeId) -> None:
        with self._lock:
            known = self._read()
            held = known.setdefault(_key(address), node)
            if held != node:
                raise IdentityError(changed(address, held, node))
            if len(known) > PINNED_MAX:
                raise IdentityError(f"{PINNED_MAX} addresses are pinned: forget some before {address} is dialled")
            self._write(known)

    def _read(self) -> dict[str, NodeId]:
        if self._path is None:
            return dict(self._known)
        try:
            known = json.loads(read_private(self._path))["pins"]
            for node in known.values():
                public_bytes(node)
            return {str(address): NodeId(node) for address, node in known.items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise IdentityError(f"the pins in {self._path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError, IdentityError) as error:
            raise IdentityError(f"{self._path} is damaged: mend it, or move it away to pin anew") from error

    def _write(self, known: dict[str, NodeId]) -> None:
        if self._path is None or known == self._read():
            self._known = known
            return
        try:
            text = json.dumps({"format": 1, "pins": known}, indent=1, sort_keys=True)
            write_private(self._path, text.encode() + b"\n")
        except OSError as error:
            raise IdentityError(f"the pins in {self._path} cannot be written: {error.strerror}") from error


def _key(address: Address) -> str:
    return str(address).lower()


def open_pins(pins: str | Collection[str] | None, path: Path | None) -> Pins:
    """The pins that an option of a store means; `path` is the store's directory.

    Raises:
        IdentityError: The option means nothing, or what is in the directory cannot be read.
    """
    if pins is None:
        return AnyMember()
    if pins == "first-use":
        return FirstUse(None if path is None else path / "pins.json")
    if isinstance(pins, str):
        raise IdentityError('pins are None, "first-use" or a list of node ids')
    return AllowList(pins)


def changed(address: Address, old: NodeId, new: NodeId) -> str:
    """What is wrong where a pinned address leads to another node, and how to accept it."""
    return (
        f"{address} led to node {old} and leads to node {new} now; nothing was sent. If that machine was replaced on "
        f"purpose, accept it: store.pins.forget({address.host!r}, {address.port})"
    )
