"""A box with a membership on its disk, and peers that are right or wrong in one way each."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet_app.admin import NodeFile
from fleet_app.config import load
from fleet_app.doctor import Box, look
from fleet_app.doctor.box import Member
from fleet_app.home import ROOM
from fleet_app.membership import obtain
from propagul.link import Address, Credentials, Identity, Purpose, RoomAuthority, TcpTransport
from tests.link.world import LOOPBACK, listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fleet_app.config import Settings
    from fleet_app.doctor import Examination, Finding
    from propagul.link import Listener

NODE = "a" * 52


def settings_of(path: Path, **environ: str) -> Settings:
    """What a node on `path` would be told."""
    return load({"data_dir": str(path)}, environ=environ)


async def member(path: Path) -> Box:
    """A box that has founded a fleet, and on which no node runs."""
    await obtain(settings_of(path))
    return look(settings_of(path))


def running(box: Box, *announced: str, members: tuple[Member, ...] = ()) -> Box:
    """The same box with a node on it, as far as the doctor is concerned."""
    told = announced or ("127.0.0.1:8788",)
    here = Member(id=NODE, name="attic", reach="here", addresses=told)
    node = NodeFile(pid=1, id=NODE, name="attic", gateway="127.0.0.1:1", listen=told[0], started=time.time())
    return replace(box, node=node, members=(here, *members), firewalls=())


def standing_beside(box: Box) -> Credentials:
    """What another member of the box's fleet shows."""
    assert box.credentials is not None
    assert box.credentials.authority is not None
    return Credentials.from_authority(Identity.generate(), box.credentials.authority)


def fellow(box: Box, versions: tuple[int, int] = (1, 1)) -> TcpTransport:
    """Another member of the box's fleet."""
    return TcpTransport(standing_beside(box), versions=versions)


def foreigner(room: str = ROOM) -> TcpTransport:
    """A member of a fleet of its own."""
    authority = RoomAuthority.from_secret(room, "another secret of thirty characters")
    return TcpTransport(Credentials.from_authority(Identity.generate(), authority))


def open_to(transport: TcpTransport) -> contextlib.AbstractAsyncContextManager[Listener]:
    """Listen as a node does, as far as a question goes."""

    async def nothing(_: object) -> None:
        pass

    return listening(transport, {Purpose.GOSSIP: nothing, Purpose.QUERY: nothing})


@contextlib.contextmanager
def program(serve: Callable[[socket.socket], None]) -> Iterator[Address]:
    """Listen with a program that is none of ours, until whoever came has left."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                serve(self.request)

    with socketserver.ThreadingTCPServer(LOOPBACK, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Address("127.0.0.1", int(server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()


def verdicts(examination: Examination) -> dict[str, str]:
    """Each subject with its verdict; the last one of a subject counts."""
    return {finding.subject: finding.verdict for finding in examination.findings}


def in_the_way(examination: Examination) -> Finding:
    """The one thing that stands in the way, which is looked at last."""
    found = [finding for finding in examination.findings if finding.verdict == "blocked"]
    assert len(found) == 1, examination
    assert found == [examination.findings[-1]]
    return found[0]
