"""A machine in the middle of the line between two members: it passes on and records, plays back, mixes, leads astray.

Threads and blocking sockets that stand on a host of the laboratory. Whoever dials the relay speaks to whatever `answer`
does with the connection; at first it is passed on.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.network.lab import PORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.network.host import Host


@dataclass(slots=True, eq=False)
class Recording:
    """One connection that was passed on.

    Attributes:
        dialler: Its end towards the member that dialled, and `dialled` all that this one sent.
        acceptor: Its end towards the member that accepted, and `accepted` all that this one sent.
    """

    dialler: socket.socket
    acceptor: socket.socket
    dialled: bytearray = field(default_factory=bytearray)
    accepted: bytearray = field(default_factory=bytearray)


class Relay(socketserver.ThreadingTCPServer):
    """Runs while its block does.

    Args:
        here: Where it stands.
        there: Whose port it passes on to.

    Attributes:
        there: The same; it may be changed.
        answer: What is done with a connection that somebody opens.
        recordings: Every connection that was passed on, the newest last.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, here: Host, there: Host) -> None:
        self.there = there
        self.answer: Callable[[socket.socket], None] = self.pass_on
        self.recordings: list[Recording] = []
        with here.inside():
            super().__init__((here.address, PORT), socketserver.BaseRequestHandler)
            self._server = threading.Thread(target=self.serve_forever, args=(0.05,), name="relay")
            self._server.start()  # what it starts stands where it does

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.shutdown()
        self._server.join()
        self.server_close()

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:  # noqa: ARG002
        """Serve one connection, in a thread of its own."""
        assert isinstance(request, socket.socket)
        with contextlib.suppress(OSError):
            self.answer(request)

    def pass_on(self, dialler: socket.socket) -> None:
        """Connect two members and record what they say."""
        with socket.create_connection((self.there.address, PORT)) as acceptor:
            recording = Recording(dialler, acceptor)
            self.recordings.append(recording)
            back = threading.Thread(target=copy, args=(acceptor, dialler, recording.accepted), name="relay back")
            back.start()
            copy(dialler, acceptor, recording.dialled)
            back.join()

    def say(self, said: bytes) -> None:
        """Say something to both ends of every connection that is passed on, as if the other had."""
        for recording in self.recordings:
            for end in (recording.dialler, recording.acceptor):
                with contextlib.suppress(OSError):  # it is over
                    end.sendall(said)

    def cut(self) -> None:
        """End every connection that is passed on."""
        for recording in self.recordings:
            for end in (recording.dialler, recording.acceptor):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def playing(said: bytes) -> Callable[[socket.socket], None]:
    """Say this to whoever dials, whatever it says."""

    def play(connection: socket.socket) -> None:
        connection.sendall(said)
        while connection.recv(65536):
            pass

    return play


def copy(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
    """Pass on what one says to the other until either is gone."""
    with contextlib.suppress(OSError):
        while more := source.recv(65536):
            record += more
            sink.sendall(more)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
