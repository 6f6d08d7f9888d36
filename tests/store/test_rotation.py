"""Changing the secret of a room and shutting members out, with real links."""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, IdentityError
from propagul.errors import LinkError
from propagul.link import Address, Credentials, Identity, Purpose, RoomAuthority, TcpTransport
from tests.store.world import FAST, OTHER_SECRET, ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from propagul.link import Link

NEW_SECRET = "a-brand-new-battery-staple-77"


@asynccontextmanager
async def linked(*stores: AgentStateStore) -> AsyncIterator[None]:
    """Run stores, each linked with every other one."""
    async with AsyncExitStack() as stack:
        for number, store in enumerate(stores):
            await store.start(peers=[address(other) for other in stores[:number]])
            stack.push_async_callback(store.stop)
        await until(lambda: all(len(store.linked()) == len(stores) - 1 for store in stores))
        yield


def links_of(store: AgentStateStore) -> set[Link]:
    """The open link objects themselves."""
    assert store._network is not None
    return {entry.link for entry in store._network.mesh._open.values()}


def member(secret: str, path: Path | None = None) -> AgentStateStore:
    return loopback(path.name if path else "x", secret=secret, path=path)


def test_the_secret_is_changed_and_no_link_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        a, b, c = (member(SECRET, tmp_path / name) for name in "abc")
        async with linked(a, b, c):
            await until(lambda: all(len(_certified(store)) == 3 for store in (a, b, c)))
            before = [links_of(store) for store in (a, b, c)]
            a.rotate_secret(NEW_SECRET)
            b.set("during", 1)
            await until(lambda: a.get("during") == c.get("during") == 1)
            await until(lambda: all(_trusts_only(store, NEW_SECRET) for store in (a, b, c)))
            c.set("after", 2)
            await until(lambda: a.get("after") == b.get("after") == 2)
            assert [links_of(store) for store in (a, b, c)] == before
            assert a.rotation is None
            await refused_plainly(SECRET, address(b), "was changed")

    run(scenario)


def _certified(store: AgentStateStore) -> frozenset[object]:
    assert store._credentials is not None
    return store._credentials.ring.certified


def _trusts_only(store: AgentStateStore, secret: str) -> bool:
    assert store._credentials is not None
    return set(store._credentials.ring.trusted) == {RoomAuthority.from_secret(ROOM, secret).tag}


async def refused_plainly(secret: str, at: tuple[str, int], words: str) -> None:
    transport = TcpTransport(
        Credentials.from_authority(Identity.generate(), RoomAuthority.from_secret(ROOM, secret))
    )
    with pytest.raises(IdentityError, match=words):
        await transport.dial(Address(*at), Purpose.GOSSIP)
