"""A member's process as a test sees it: start it on a host, give it orders, stop, freeze or kill it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.network.lab import PORT
from tests.network.node import HITS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.network.host import Host

SECRET: Final = "correct-horse-battery-staple-9"
ANSWER_S: Final = 30.0

_ROOT: Final = Path(__file__).resolve().parents[2]


class Member:
    """One process.

    Args:
        host: Where it runs.
        path: Its directory.
        peers: Whom it is told of: other hosts, or addresses.
        secret: The room's secret; None for somebody who has an invite.
        listens: Whether it opens a port.

    Attributes:
        node: Its identity.
        refusal: Why it did not start, in its own words; empty if it did.
    """

    def __init__(
        self,
        host: Host,
        path: Path,
        peers: Sequence[Host | tuple[str, int]] = (),
        *,
        secret: str | None = SECRET,
        invite: str | None = None,
        listens: bool = True,
        advertise: list[tuple[str, int]] | None = None,
    ) -> None:
        self.host, self.path = host, path
        settings = Settings(
            label=host.name,
            port=PORT if listens else None,
            path=str(path),
            secret=secret,
            invite=invite,
            peers=[peer if isinstance(peer, tuple) else (peer.address, PORT) for peer in peers],
            advertise=advertise,
        )
        command = host.command(sys.executable, "-m", "tests.network.node", json.dumps(settings))
        self.process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._heard = b""
        self.node = self.refusal = ""

    def __repr__(self) -> str:
        return f"Member({self.host.name})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ready(self) -> Self:
        """Wait until it has started, or said why not."""
        match self._line():
            case {"ok": {"node": str(node)}}:
                self.node = node
            case {"error": str(refusal)}:
                self.refusal = refusal
        return self

    def ask(self, do: str, **fields: object) -> Any:
        """Give an order and return the answer."""
        self._say({"do": do, **fields})
        answer = self._line()
        assert "ok" in answer, answer
        return answer["ok"]

    def set(self, key: str, value: object) -> None:
        """Write, and return when the write has."""
        self.ask("set", key=key, value=value)

    def get(self, key: str) -> object:
        """Read."""
        return self.ask("get", key=key)

    def delete(self, key: str) -> None:
        """Remove."""
        self.ask("delete", key=key)

    def add(self, times: int = 1) -> None:
        """Count."""
        for _ in range(times):
            self.ask("add")

    def dump(self) -> dict[str, Any]:
        """Everything that replicas agree on: `values`, `conflicts`, `hits`."""
        dump: dict[str, Any] = self.ask("dump")
        return dump

    def hits(self) -> int:
        """What was counted."""
        return int(self.dump()[HITS])

    def linked(self) -> frozenset[str]:
        """Identities it has a link to."""
        return frozenset(self.ask("linked"))

    def members(self) -> frozenset[str]:
        """Labels of those whose presence it sees."""
        return frozenset(self.ask("members"))

    def stat(self, name: str) -> Any:
        """One of `StoreStats`."""
        return self.ask("stats")[name]

    def refused(self) -> dict[str, int]:
        """How often strangers were turned away, by reason."""
        counts: dict[str, int] = {}
        for refusal in self.ask("refusals"):
            counts[refusal["reason"]] = counts.get(refusal["reason"], 0) + refusal["count"]
        return counts

    def look(self) -> None:
        """Begin to watch presence afresh."""
        self.ask("look")

    def seen(self) -> tuple[dict[str, int], int]:
        """How often each member went since then, and how few there ever were."""
        seen = self.ask("seen")
        return seen["gone"], seen["fewest"]

    def burst(self, prefix: str) -> Iterator[int]:
        """Have it write without end; yield the number of each write as it is acknowledged."""
        self._say({"do": "burst", "prefix": prefix})
        return self.rest()

    def rest(self) -> Iterator[int]:
        """The acknowledgements that were not taken yet, until it is gone."""
        with contextlib.suppress(EOFError):
            while True:
                yield int(self._line()["ok"])

    def rss_kib(self) -> int:
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it in its tracks while the block runs."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Have it say goodbye and end."""
        self.ask("stop")
        self.process.wait(ANSWER_S)
        self.kill()

    def kill(self) -> None:
        """End it without warning. Idempotent."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _say(self, order: dict[str, object]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def _line(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            EOFError: There is none: the process is gone.
            TimeoutError: There is none yet.
        """
        assert self.process.stdout is not None
        deadline = time.monotonic() + ANSWER_S
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{self} did not answer in {ANSWER_S:g} s")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f"{self} is gone")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer
