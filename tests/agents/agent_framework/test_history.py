"""History is what was said, in one order everywhere, and is cleared for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent_framework import Agent, BaseChatClient, ChatResponse, Content, Message
from propagul_agent_framework import PropagulHistoryProvider
from typing_extensions import override

from propagul import AgentStateStore
from tests.store.world import Island, on_island, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Echo(BaseChatClient):  # type: ignore[misc,unused-ignore]  # a class of no known type where the framework is not
    """Says how many messages it was given, and the last of them."""

    @override
    async def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, object], **_: object
    ) -> ChatResponse:
        return ChatResponse(messages=[Message("assistant", [f"{len(messages)} heard, {messages[-1].text} last"])])


async def answer(provider: PropagulHistoryProvider, text: str) -> str:
    """What an agent says whose history the provider keeps."""
    agent = Agent(Echo(), context_providers=[provider])
    return str((await agent.run(text, session=agent.create_session(session_id="s"))).text)


def test_an_agent_remembers_what_was_said_in_another_process(tmp_path: Path) -> None:
    async def scenario(text: str) -> str:
        async with PropagulHistoryProvider.from_conn_string(str(tmp_path)) as provider:
            return await answer(provider, text)

    assert asyncio.run(scenario("one")) == "1 heard, one last"
    assert asyncio.run(scenario("two")) == "3 heard, two last"


def test_a_message_comes_back_whole_and_an_unreadable_one_hides_no_other() -> None:
    async def scenario() -> None:
        provider = PropagulHistoryProvider(store)
        full = Message(
            "assistant",
            [Content.from_function_call("1", "tool", arguments={"a": "é"}), "x" * 300_000],
            author_name="me",
            message_id="m",
            additional_properties={"k": [1]},
        )
        await provider.save_messages("s", [Message("user", ["hello"]), full])
        await provider.save_messages(None, [Message("user", ["without a session"])])
        got = await provider.get_messages("s")
        assert [one.to_dict() for one in got] == [Message("user", ["hello"]).to_dict(), full.to_dict()]
        assert [one.text for one in await provider.get_messages(None)] == ["without a session"]
        assert await PropagulHistoryProvider(store, source_id="other").get_messages("s") == []
        store.set(next(iter(store.get_all("agent-framework/history/propagul/items/s/"))), '["no message"]')
        assert len(await provider.get_messages("s")) == 1

    store = AgentStateStore("room", port=None)
    run(scenario)
    store.close()


def test_what_both_say_at_once_is_kept_and_what_was_cleared_stays_cleared() -> None:
    async def scenario(island: Island) -> None:
        here, there = (
            PropagulHistoryProvider(store) for store in (await island.start("a"), await island.start("b", "a"))
        )
        island.network.cut("a", "b")
        await here.save_messages("s", [Message("user", ["here"])])
        await there.save_messages("s", [Message("user", ["there"])])
        island.network.heal("a", "b")
        await island.clock.advance(30)
        heard = [one.text for one in await here.get_messages("s")]
        assert sorted(heard) == ["here", "there"]
        assert heard == [one.text for one in await there.get_messages("s")]
        island.network.cut("a", "b")
        await here.clear("s")
        await there.save_messages("s", [Message("user", ["late"])])
        island.network.heal("a", "b")
        await island.clock.advance(30)
        assert await here.get_messages("s") == await there.get_messages("s") == []

    on_island(scenario)
