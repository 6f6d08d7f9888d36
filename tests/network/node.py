"""A member of a room as a program: orders come in as lines of JSON, each is answered by one.

`python -m tests.network.node SETTINGS`, and settings are JSON too. It ends on the order `stop`, which says goodbye, and
without a word when its standard input does: so it never outlives the test that started it.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from propagul import AgentStateStore, GossipConfig
from propagul.errors import PropagulError
from propagul.link import Credentials, Identity, Invite, join

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM: Final = "laboratory-of-five"
HITS: Final = "hits"
"""A counter: what is counted twice, or lost, shows in it."""

BRISK: Final = GossipConfig(
    announce_delay_s=0.02,
    presence_announce_delay_s=0.2,
    pulse_interval_s=1.0,
    silence_s_max=4.0,
    presence_interval_s=0.5,
    presence_ttl_s=5.0,
    redial_s_max=0.5,
)
"""The default timing some four times as fast, so that a test sees in seconds what takes a minute at home."""

_LOOK_S: Final = 0.04

Answer = dict[str, object]


class Settings(TypedDict):
    """What a node is started with; see `AgentStateStore` for most of it.

    `invite` is redeemed if there is no secret. `advertise` None: as the store finds out itself.
    """

    label: str
    port: int | None
    path: str
    secret: str | None
    invite: str | None
    peers: list[tuple[str, int]]
    advertise: list[tuple[str, int]] | None


class View:
    """What presence shows, looked at often: who was there and went, and whether everybody was gone at once."""

    def __init__(self, store: AgentStateStore) -> None:
        self._store = store
        self._here: set[str] = set()
        self.gone: collections.Counter[str] = collections.Counter()
        self.fewest = 0

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            here = {member.label for member in self._store.members()}
            self.gone.update(self._here - here)
            self._here, self.fewest = here, min(self.fewest, len(here))
            await asyncio.sleep(_LOOK_S)

    def begin(self) -> None:
        """Forget what was seen until now."""
        self.gone.clear()
        self.fewest = len(self._here)


class Node:
    """One store and the orders it obeys."""

    def __init__(self, store: AgentStateStore) -> None:
        self.store, self.view = store, View(store)
        self.orders: dict[str, Callable[..., object]] = {
            "set": store.set,
            "get": store.get,
            "delete": store.delete,
            "add": lambda: store.counter(HITS).add(),
            "dump": self.dump,
            "linked": lambda: sorted(store.linked()),
            "members": lambda: sorted(member.label for member in store.members()),
            "stats": lambda: dataclasses.asdict(store.stats),
            "refusals": lambda: [dataclasses.asdict(refusal) for refusal in store.refusals()],
            "troubles": store.troubles,
            "seen": lambda: {"gone": dict(self.view.gone), "fewest": self.view.fewest},
            "look": self.view.begin,
            "invite": store.invite,
            "compact": store.compact,
        }

    def dump(self) -> Answer:
        """Everything that replicas agree on."""
        values = self.store.get_all()
        conflicts = {key: found for key in values if (found := self.store.get_conflicts(key))}
        return {"values": values, "conflicts": conflicts, HITS: self.store.counter(HITS).value}

    def answer(self, line: bytes) -> Answer:
        """Obey one order."""
        order: dict[str, Any] = json.loads(line)
        try:
            return {"ok": self.orders[order.pop("do")](**order)}
        except PropagulError as error:
            return {"error": str(error)}

    async def burst(self, prefix: str) -> None:
        """Write, and say of each write that it returned, until killed."""
        number = 0
        while True:
            self.store.set(f"{prefix}{number}", "x" * (number % 500))
            say({"ok": number})
            number += 1
            await asyncio.sleep(0)

    async def serve(self) -> None:
        """Obey orders until told to stop, or the input ends."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            match json.loads(line):
                case {"do": "stop"}:
                    await self.store.stop()
                    say({"ok": None})
                    return
                case {"do": "burst", "prefix": prefix}:
                    await self.burst(prefix)
                case _:
                    say(self.answer(line))


async def opened(settings: Settings) -> AgentStateStore:
    """The store of these settings, with whatever lets it into the room."""
    path, credentials = Path(settings["path"]), None
    if settings["invite"] is not None:
        identity = Identity.load_or_create(path / "identity.key")
        grant = await join(Invite.decode(settings["invite"]), identity)
        credentials = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem)
    return AgentStateStore(
        ROOM,
        settings["label"],
        settings["port"],
        "0.0.0.0",
        path=path,
        secret=settings["secret"],
        credentials=credentials,
        config=BRISK,
        advertise=settings["advertise"],
    )


async def main(settings: Settings) -> None:
    """Run one node."""
    try:
        store = await opened(settings)
        report = await store.start([(host, port) for host, port in settings["peers"]], sync_timeout_s=3)
    except PropagulError as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    node = Node(store)
    watching = asyncio.create_task(node.view.watch())
    say({"ok": {"node": store.node, "complete": report.complete, "troubles": store.troubles()}})
    await node.serve()
    watching.cancel()


def say(answer: Answer) -> None:
    """Answer in one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
