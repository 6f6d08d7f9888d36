"""The doctor names engines that others reach, and that never keeps boxes apart."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet_app.doctor.box import Member
from fleet_app.doctor.exposed import exposed
from fleet_app.presence import BackendPresence, NodePresence
from tests.doctor.rig import NODE, member, running

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.doctor import Finding


def findings(path: Path, *hosts: str) -> list[Finding]:
    """Of a box whose engines listen at some addresses."""

    async def scenario() -> list[Finding]:
        box = await member(path)
        servers = [socket.create_server((host, 0)) for host in hosts]
        engines = tuple(
            BackendPresence(kind="vllm", url=f"http://127.0.0.1:{server.getsockname()[1]}", condition="ready")
            for server in servers
        )
        presence = NodePresence(name="attic", version="1", at_s=0, started_s=0, backends=engines)
        here = Member(id=NODE, name="attic", reach="here", presence=presence)
        try:
            return await exposed(replace(running(box), members=(here,)))
        finally:
            for server in servers:
                server.close()

    return asyncio.run(scenario())


def test_an_engine_that_listens_everywhere_is_noted_with_its_line(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "")
    assert (found.subject, found.verdict) == ("exposure", "note")
    assert "answers everybody on the" in found.says
    assert found.remedy.startswith("start it with: vllm serve --host 127.0.0.1")


def test_engines_on_loopback_are_well(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, "127.0.0.1", "127.0.0.1")
    assert (found.subject, found.verdict) == ("exposure", "ok")


def test_without_engines_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert findings(tmp_path) == []
