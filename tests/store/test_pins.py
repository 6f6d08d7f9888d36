"""Stores that pin whom they link with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, IdentityError
from propagul.link import Identity
from tests.store.world import FAST, ROOM, SECRET, address, loopback, run, until

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def pinning(pins: str | Collection[str] | None, *, path: Path | None = None, port: int = 0) -> AgentStateStore:
    return AgentStateStore(ROOM, "p", port, "127.0.0.1", secret=SECRET, config=FAST, path=path, pins=pins)


def test_first_use_holds_across_restarts_and_is_taken_back_by_one_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with loopback("a", path=tmp_path / "a") as first:
            where = address(first)
            async with pinning("first-use", path=tmp_path / "p") as store:
                store.add_peer(*where)
                await until(store.linked)
        another = loopback("b", port=where[1])
        await another.start()
        store = pinning("first-use", path=tmp_path / "p")
        report = await store.start(peers=[where])
        assert f"led to node {first.node} and leads to node {another.node} now" in report.peers[0].trouble
        assert report.peers[0].trouble in store.troubles()
        assert not store.linked()
        remedy = report.peers[0].trouble.rpartition("accept it: ")[2]
        exec(remedy, {"store": store})  # what people are told to write
        await until(lambda: store.linked() == {another.node})
        await store.stop()
        await another.stop()

    run(scenario)


def test_a_list_lets_its_members_in_and_counts_the_others() -> None:
    async def scenario() -> None:
        friend, other = loopback("friend"), loopback("other")
        async with pinning([friend.node]) as store:
            for one in (friend, other):
                await one.start(peers=[address(store)])
            assert store.linked() == {friend.node}
            assert any("takes links from the nodes that it pins only" in trouble for trouble in other.troubles())
            counted = "a member that is not on this node's list of pins"
            await until(lambda: counted in [refusal.reason for refusal in store.refusals()])
            assert store.stats.refused > 0
            other.set("k", 1)
            friend.set("l", 2)
            await until(lambda: store.get("l") == 2)
            for one in (friend, other):
                await one.stop()

    run(scenario)


def test_pins_that_mean_nothing_open_no_store_and_leave_its_directory_free(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="node id is 52 characters"):
        pinning(["box-1"], path=tmp_path)
    with pytest.raises(IdentityError, match='None, "first-use" or a list'):
        pinning("always", path=tmp_path)
    (tmp_path / "pins.json").write_text("nonsense")
    (tmp_path / "pins.json").chmod(0o600)
    with pytest.raises(IdentityError, match="is damaged: mend it, or move it away"):
        pinning("first-use", path=tmp_path)
    pinning([Identity.generate().node], path=tmp_path).close()
