"""Stores of different versions: one room where they have a version in common, a plain sentence where not."""

from __future__ import annotations

import pytest

from propagul import AgentStateStore
from propagul.link import Address, TcpTransport
from tests.link.world import standing
from tests.store.world import FAST, ROOM, address, run, until


def speaking(name: str, versions: tuple[int, int]) -> AgentStateStore:
    return AgentStateStore(ROOM, name, 0, transport=TcpTransport(standing(), versions=versions), config=FAST)


@pytest.mark.parametrize(("ours", "theirs"), [((1, 1), (1, 2)), ((1, 2), (2, 3))])
def test_stores_of_neighbouring_versions_form_one_room(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    async def scenario() -> None:
        a, b = speaking("a", ours), speaking("b", theirs)
        a.set("k", "from a")
        await a.start()
        report = await b.start(peers=[address(a)])
        assert report.complete
        b.set("l", "from b")
        await until(lambda: a.get_all() == b.get_all() == {"k": "from a", "l": "from b"})
        await b.stop()
        await a.stop()

    run(scenario)


def test_a_store_too_new_for_the_others_is_told_and_counted() -> None:
    async def scenario() -> None:
        a, b = speaking("a", (1, 2)), speaking("b", (3, 4))
        await a.start()
        report = await b.start(peers=[address(a)])
        said = f"{Address(*address(a))} speaks protocol versions 1 to 2, this node protocol versions 3 to 4"
        assert report.peers[0].trouble == f"{said}: update the node there"
        counted = ["speaks newer protocol versions only: update this node"]
        await until(lambda: [refusal.reason for refusal in a.refusals()] == counted)
        await b.stop()
        await a.stop()

    run(scenario)
