"""The kit's own runner, with a model that needs no network, goes on where a killed process ended."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

from propagul_adk import PropagulSessionService

from tests.agents.adk.world import turn
from tests.store.world import address, loopback
from tests.workshop.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TURN = """
import asyncio, sys
sys.path.append("integrations")
from pathlib import Path
from propagul_adk import PropagulSessionService
from tests.agents.adk.world import turn
from tests.store.world import loopback

async def main():
    async with loopback("killed", path=Path(sys.argv[1])) as store:
        store.add_peer("127.0.0.1", int(sys.argv[2]))
        answer = await turn(PropagulSessionService(store), "one")
        await store.flush(peers=1)
        print(answer, flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


def test_a_conversation_goes_on_after_kill_9_at_a_peer_and_from_its_own_directory(tmp_path: Path) -> None:
    peer = loopback("peer")
    peer.start_background()
    command = [sys.executable, "-c", TURN, str(tmp_path), str(address(peer)[1])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1 heard, one last\n"
        process.kill()
    own = loopback("killed", path=tmp_path)
    try:
        for store in (peer, own):
            service = PropagulSessionService(store)
            assert asyncio.run(turn(service, "two")) == "3 heard, two last"
            state = asyncio.run(service.get_user_state(app_name="app", user_id="user"))
            assert state == {"answer": "3 heard, two last"}
    finally:
        own.close()
        peer.close()
