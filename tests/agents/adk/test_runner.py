"""The kit's own runner, with a model that needs no network, goes on where a killed process ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from propagul_adk import PropagulSessionService

from tests.agents.adk.world import turn
from tests.agents.killed import killed

if TYPE_CHECKING:
    from pathlib import Path

    from propagul import AgentStateStore


async def first_turn(store: AgentStateStore) -> str:
    return await turn(PropagulSessionService(store), "one")


def test_a_conversation_goes_on_after_kill_9_at_a_peer_and_from_its_own_directory(tmp_path: Path) -> None:
    with killed(first_turn, tmp_path) as (answer, stores):
        assert answer == "1 heard, one last"
        for store in stores:
            service = PropagulSessionService(store)
            assert asyncio.run(turn(service, "two")) == "3 heard, two last"
            state = asyncio.run(service.get_user_state(app_name="app", user_id="user"))
            assert state == {"answer": "3 heard, two last"}
