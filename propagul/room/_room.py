"""One agent's stay in a room: it is seen, sees the others, and shares areas and queues with them."""

from __future__ import annotations

import contextlib
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from propagul.errors import ClosedError, LocalProtocolError
from propagul.room._area import Area, View, checked_name
from propagul.room._queue import WorkQueue
from propagul.room._work import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from propagul.room._work import Phase
    from propagul.store import AgentStateStore, Heard

_MISSED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent that is in a room now.

    Attributes:
        name: What it calls itself. Several may call themselves the same.
        node: The identity of its store.
        session: Its stay; another one each time it enters.
        capabilities: What it says it can do.
        status: What it says it does.
        age_s: Seconds since it was last known to live, by this process's clock; 0 for this store's own.
    """

    name: str
    node: str
    session: str
    capabilities: frozenset[str]
    status: object
    age_s: float


class Room:
    """A room that an agent is in from `enter` to `leave`, or within a `with`. Any thread.

    Args:
        store: Started, or other agents are not seen.
        name: The room's; one store may serve several.
        agent: What the agent calls itself; the store's `node_id` without it.
        capabilities: What it can do, for tasks that need something.
        missed_s: Claims of an agent that was not seen for so long, by this process's clock, after its presence has
            expired, can be taken over. Raising it delays that and spares tasks to be done twice after a short cut.
        fresh_id: Makes names of sessions, tasks and claims.

    Attributes:
        shared: What all agents write.
        own: What this one writes and the others read, with `own_of`.
        meta: What is to be known of the room itself.
        session: The name of this stay.

    Raises:
        ValueError: A name is none.
    """

    def __init__(
        self,
        store: AgentStateStore,
        name: str,
        *,
        agent: str | None = None,
        capabilities: Iterable[str] = (),
        missed_s: float = 5.0,
        fresh_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.store, self.name = store, checked_name("a room's name", name)
        self.agent = checked_name("an agent's name", store.label if agent is None else agent)
        self.capabilities = frozenset(capabilities)
        self.fresh_id, self.session = fresh_id, fresh_id()
        self._prefix = f"rooms/{name}/"
        self.shared, self.meta = Area(store, f"{self._prefix}shared/"), Area(store, f"{self._prefix}meta/")
        self.own = Area(store, self._own_prefix(store.node, self.agent))
        self._missed_s = missed_s
        self._missed_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._queues: dict[str, WorkQueue] = {}
        self._status: object = None
        self._is_in = False

    # --- being there ---------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Be seen by the others. Idempotent."""
        self._is_in = True
        self.say(self._status)

    def leave(self) -> None:
        """Give back what is claimed, and be seen no more. Idempotent."""
        if not self._is_in:
            return
        self._is_in = False
        with contextlib.suppress(ClosedError):  # a store that was stopped has said goodbye for all that is in it
            for queue in list(self._queues.values()):
                queue.give_back()
        self.store.presence.delete(self._presence_key(self.store.node, self.agent, self.session))

    def say(self, status: object) -> None:
        """Tell the others what this agent does; once entered, for as long as it is there."""
        self._status = status
        if self._is_in:
            said = {"capabilities": sorted(self.capabilities), "status": status}
            self.store.presence.set(self._presence_key(self.store.node, self.agent, self.session), said)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    # --- the others ----------------------------------------------------------------------------------------------

    def members(self, *, capable_of: Sequence[str] = ()) -> list[Agent]:
        """Agents that are in the room, this one included, by name; those that can do all of `capable_of`."""
        prefix = f"{self._prefix}members/"
        heard = self.store.presence.get_all(prefix).items()
        found = [agent for key, said in heard if (agent := _agent(key.removeprefix(prefix), said)) is not None]
        capable = [agent for agent in found if agent.capabilities.issuperset(capable_of)]
        return sorted(capable, key=lambda agent: (agent.name, agent.node, agent.session))

    def own_of(self, agent: Agent) -> View:
        """What another agent wrote for all to read."""
        return View(self.store, self._own_prefix(agent.node, agent.name))

    def queue(self, name: str, *, attempts_max: int | None = None, settle_s: float = 0.0) -> WorkQueue:
        """The queue of that name: the same one for all who ask for it here, with what it was first asked for with.

        Args:
            name: Its name.
            attempts_max: After so many claims that ended without a result a task has failed; None for any number.
            settle_s: A claim waits so long for word of another one before it is handed out: about as long as news
                takes in the room, so that two agents do the same only where they cannot hear each other.
        """
        with self._lock:
            if name not in self._queues:
                prefix = f"{self._prefix}work/{checked_name('the name of a queue', name)}/"
                self._queues[name] = WorkQueue(self, prefix, attempts_max=attempts_max, settle_s=settle_s)
            return self._queues[name]

    def is_gone(self, word: Word) -> bool:
        """Whether who claimed a task was missed for so long that it can be taken over.

        By this process's clock, from when it was missed first. Never where nobody's presence comes.
        """
        if word.session == self.session or not self.store.hears_others:
            return word.session == self.session and not self._is_in
        key, now = self._presence_key(word.node, word.agent, word.session), self.store.clock.monotonic()
        with self._lock:
            if self.store.presence.get(key, bytes_max=0) is not None:
                self._missed_at.pop(key, None)
                return False
            since = self._missed_at.setdefault(key, now)
            while len(self._missed_at) > _MISSED_MAX:
                del self._missed_at[next(iter(self._missed_at))]
            return now - since >= self._missed_s

    def word(self, phase: Phase, attempt: int) -> Word:
        """What this agent says of a task that it claims."""
        return Word(
            phase=phase,
            agent=self.agent,
            node=self.store.node,
            session=self.session,
            claim=self.fresh_id(),
            attempt=attempt,
        )

    def check_entered(self) -> None:
        """Whether this agent can be seen, as whoever claims must.

        Raises:
            LocalProtocolError: It is not in the room.
        """
        if not self._is_in:
            raise LocalProtocolError(
                f"{self.agent!r} is not in the room {self.name!r}, so nobody could tell whether it still works: "
                "enter it, as with `with room:`"
            )

    def _presence_key(self, node: str, agent: str, session: str) -> str:
        return f"{self._prefix}members/{node}/{agent}/{session}"

    def _own_prefix(self, node: str, agent: str) -> str:
        return f"{self._prefix}own/{node}/{agent}/"


def _agent(place: str, heard: Heard) -> Agent | None:
    """Who a presence row is of; None for what is none: it came from another machine."""
    match place.split("/"), heard.value:
        case [node, name, session], {"capabilities": list(capabilities), "status": status}:
            able = frozenset(can for can in capabilities if isinstance(can, str))
            return Agent(name=name, node=node, session=session, capabilities=able, status=status, age_s=heard.age_s)
    return None
