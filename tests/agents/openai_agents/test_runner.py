"""The SDK's own runner, with a tool and a model that needs no network, goes on where a killed process ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agents import Runner
from propagul_openai_agents import PropagulSession

from tests.agents.killed import killed
from tests.agents.openai_agents.world import Counting, agent
from tests.store.world import loopback

if TYPE_CHECKING:
    from pathlib import Path

    from propagul import AgentStateStore


async def first_turn(store: AgentStateStore) -> str:
    result = await Runner.run(agent(Counting()), "seven!!", session=PropagulSession("s", store))
    return str(result.final_output)


def go_on(store: AgentStateStore) -> list[dict[str, object]]:
    """Run a second turn; what the model heard in it first."""
    model = Counting()
    result = asyncio.run(Runner.run(agent(model), "four", session=PropagulSession("s", store)))
    assert result.final_output == "4 letters"
    return model.heard[0]


def test_a_conversation_goes_on_after_kill_9_at_a_peer_and_from_its_own_directory(tmp_path: Path) -> None:
    with killed(first_turn, tmp_path) as (answer, stores):
        assert answer == "7 letters"
        for store in stores:
            heard = go_on(store)
            kinds = [item.get("role") or item["type"] for item in heard]
            assert kinds == ["user", "function_call", "function_call_output", "assistant", "user"]
            assert (heard[0]["content"], heard[2]["output"], heard[4]["content"]) == ("seven!!", "7", "four")


def test_items_of_one_turn_stand_side_by_side_when_two_runners_answer_at_once() -> None:
    async def scenario() -> None:
        session = PropagulSession("s", store)
        said = [Runner.run(agent(Counting()), "x" * number, session=session) for number in (1, 2, 3)]
        await asyncio.gather(*said)
        kinds = [item.get("type") for item in await session.get_items()]
        assert kinds.count("function_call") == kinds.count("function_call_output") == 3
        for place, kind in enumerate(kinds):
            assert kind != "function_call" or kinds[place + 1] == "function_call_output"

    store = loopback()
    asyncio.run(scenario())
    store.close()
