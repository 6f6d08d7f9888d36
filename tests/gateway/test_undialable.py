"""A node that accepts no inbound connection serves its models to the others, over tunnels that it brings itself."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, GossipConfig
from tests.gateway.rig import Box, engine, fleet, read_stream, text_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.engines import LlamaServer

pytestmark = pytest.mark.engine


@asynccontextmanager
async def replica(
    box: Box, port: int | None = 0, peer: AgentStateStore | None = None
) -> AsyncIterator[AgentStateStore]:
    """A node's store, as `fleet_app.node` opens it."""
    credentials, config = box.credentials, GossipConfig.test()
    store = AgentStateStore("fleet", box.name, port, "127.0.0.1", credentials=credentials, config=config)
    store.on_tunnel(box.accept)
    await store.start(peers=[] if peer is None else [peer.addresses[0]])
    try:
        yield store
    finally:
        await store.stop()


def test_the_others_are_answered_by_a_node_that_listens_nowhere(alpha: LlamaServer) -> None:
    async def scenario() -> None:
        first, second, behind = Box("box-a"), Box("box-b"), Box("box-c")
        behind.engines.append(engine(alpha.url, "alpha"))
        async with AsyncExitStack() as stack:
            a = await stack.enter_async_context(replica(first))
            b = await stack.enter_async_context(replica(second, peer=a))
            c = await stack.enter_async_context(replica(behind, None, a))
            await until(lambda: {a.node, b.node} <= c.linked())
            assert c.addresses == ()
            fronts = [
                await stack.enter_async_context(fleet(box, behind, open_tunnel=store.open_tunnel))
                for box, store in ((first, a), (second, b))
            ]
            for front in fronts:
                async with front.chat("alpha") as answer:
                    assert answer.status == 200
                    assert answer.headers["X-Propagul-Node"] == "box-c"
                    assert "alpha" in await answer.text()
                said = bytearray()
                await read_stream(front, "alpha", said)
                assert said.rstrip().endswith(b"data: [DONE]")
            answers = await asyncio.gather(*(text_of(front, "alpha") for front in fronts * 12))
            assert all('"choices"' in text for text in answers)
            assert behind.tunnels_accepted >= 2
            assert a.refusals() == b.refusals() == []

    asyncio.run(scenario())
