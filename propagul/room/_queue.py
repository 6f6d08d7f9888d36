"""Work that agents share: put, claimed, done. Any thread, and any event loop.

Every step is one `update` of a store: within one store nobody comes between. What two stores do at the same time meets
as siblings and is settled by `_work`; so a claim is what one store knows, and nothing that a room could promise.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from propagul.room._work import Phase, Task, Word, settled, task_of, words_in, written
from propagul.store import REMOVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from propagul.room._room import Room

GONE: Final = "whoever tried it last was gone before it was done"
"""Why a task has failed of which nobody could say it."""

_LOOK_S: Final = 0.1
"""Who waits for work looks so often: claims expire without anything being written."""

_SPREAD: Final = 16
"""Agents begin at different ones of so many tasks that have waited longest."""


class Claim:
    """A task in the hands of an agent; it counts for as long as nobody else's does.

    In a `with` it ends with the block: finished without a result if nothing else was said, failed by an exception.
    """

    def __init__(self, queue: WorkQueue, task: Task, word: Word) -> None:
        self._queue, self.task, self._word = queue, task, word

    @property
    def id(self) -> str:
        """The name of the task."""
        return self.task.id

    @property
    def name(self) -> str:
        """Its own name, that no other claim has."""
        return self._word.claim

    @property
    def payload(self) -> object:
        """What is to be done."""
        return self.task.payload

    @property
    def attempt(self) -> int:
        """The how-many-th it is; those given back do not count."""
        return self._word.attempt

    @property
    def is_lost(self) -> bool:
        """Whether it does not count any more: somebody else has the task, or it is settled."""
        word = self._queue.word(self.id)
        return word.phase is not Phase.CLAIMED or word.claim != self.name

    def complete(self, result: object = None) -> bool:
        """Finish the task; False, and nothing was written, if it is finished already.

        Whose claim was lost may finish it too: the work is done, whoever did it.
        """
        done = replace(self._word, phase=Phase.DONE, result=result)
        return self._queue.say(self.id, done, over=(Phase.OPEN, Phase.CLAIMED, Phase.FAILED), ends=True)

    def fail(self, reason: str = "") -> bool:
        """Say that it did not work: others may try, or it has failed if that was the last attempt.

        False, and nothing was written, if the claim was lost.
        """
        most = self._queue.attempts_max
        phase = Phase.FAILED if most is not None and self.attempt >= most else Phase.OPEN
        return self._queue.say(self.id, replace(self._word, phase=phase, result=reason), of=self.name)

    def release(self) -> bool:
        """Give it back as if it had not been claimed; False, and nothing was written, if the claim was lost."""
        given_back = replace(self._word, phase=Phase.OPEN, attempt=self.attempt - 1)
        return self._queue.say(self.id, given_back, of=self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.is_lost:
            self.complete() if kind is None else self.fail(kind.__name__)


class WorkQueue:
    """Tasks that any agent of a room may do. See `Room.queue`.

    Args:
        room: Whose.
        prefix: Where its rows stand.
        attempts_max: See `Room.queue`, like `settle_s`.
        settle_s: See there.
    """

    def __init__(self, room: Room, prefix: str, *, attempts_max: int | None, settle_s: float) -> None:
        self._room, self._store = room, room.store
        self._todo, self._state = f"{prefix}todo/", f"{prefix}state/"
        self.attempts_max, self._settle_s = attempts_max, settle_s
        self._held: dict[str, Claim] = {}

    # --- putting and looking -------------------------------------------------------------------------------------

    def put(self, payload: object, *, task_id: str | None = None, needs: Iterable[str] = ()) -> str:
        """Add a task; return its name.

        With a `task_id` of your own, once: a task of that name that is there, or done, is left as it is. Without one,
        tasks are looked at about in the order in which they were put.
        """
        name = task_id or f"{self._store.clock.time_ns() // 1000:016x}-{self._room.fresh_id()}"
        todo, state = self._todo + name, self._state + name
        row = {"payload": payload, "needs": sorted(set(needs))}
        self._store.update((todo, state), lambda held: {} if held[todo] or held[state] else {todo: row})
        return name

    def get(self, task_id: str) -> Task | None:
        """One task; None if nobody put it, or `forget` was called."""
        todo = self._store.siblings(self._todo + task_id)
        return task_of(task_id, todo, self._store.siblings(self._state + task_id))

    def word(self, task_id: str) -> Word:
        """What a task is at."""
        return settled(words_in(self._store.siblings(self._state + task_id)))

    def tasks(self) -> Iterator[Task]:
        """Tasks that are not done, by name. O(these)."""
        found = (self.get(name) for name in self._names(self._todo))
        return (task for task in found if task is not None and task.word.phase is not Phase.DONE)

    def done(self) -> Iterator[Task]:
        """Tasks that are done and not forgotten, by name, with their results. O(all tasks)."""
        found = (self.get(name) for name in self._names(self._state))
        return (task for task in found if task is not None and task.word.phase is Phase.DONE)

    def contested(self) -> list[Task]:
        """Tasks that several claimed or finished without knowing of each other, and nobody touched since. O(tasks)."""
        found = (self.get(name) for name in self._names(self._state))
        return [task for task in found if task is not None and task.contested]

    def settle(self, task_id: str) -> bool:
        """Have what does not count forgotten, so that a task is contested no more; False if there was nothing."""
        key = self._state + task_id

        def counted(held: dict[str, list[object]]) -> dict[str, object]:
            return {key: written(settled(words_in(held[key])))} if len(held[key]) > 1 else {}

        return self._store.update((key,), counted)

    def retry(self, task_id: str) -> bool:
        """Open a task that has failed again, with no attempt made; False if it has not failed."""
        return self.say(task_id, Word(), over=(Phase.FAILED,))

    def forget(self, task_id: str) -> bool:
        """Drop the result of a task that is done; False if it is not.

        Its name may then be put again. Members that were cut off and work on it still may finish it once more.
        """
        todo, state = self._todo + task_id, self._state + task_id

        def drop(held: dict[str, list[object]]) -> dict[str, object]:
            return {todo: REMOVE, state: REMOVE} if settled(words_in(held[state])).phase is Phase.DONE else {}

        return self._store.update((todo, state), drop)

    # --- working -------------------------------------------------------------------------------------------------

    def claim(self, *, wait_s: float = 0.0) -> Claim | None:
        """A task for this agent: an open one, or one whose owner is gone. None if there was none within `wait_s`.

        Raises:
            LocalProtocolError: The agent is not in the room.
        """
        until = time.monotonic() + wait_s
        while True:
            if (claim := self._take()) is not None:
                if self._settle_s:
                    time.sleep(self._settle_s)
                if self._is_kept(claim):
                    return claim
            elif (left_s := until - time.monotonic()) > 0:
                time.sleep(min(_LOOK_S, left_s))
            else:
                return None

    async def next(self, *, wait_s: float | None = None) -> Claim | None:
        """Like `claim`, for an event loop; without `wait_s` it waits for ever."""
        clock, never = self._store.clock, asyncio.Event()
        until = None if wait_s is None else clock.monotonic() + wait_s
        while True:
            if (claim := self._take()) is not None:
                if self._settle_s:
                    await clock.wait(never, self._settle_s)
                if self._is_kept(claim):
                    return claim
            elif until is None or (left_s := until - clock.monotonic()) > 0:
                await clock.wait(never, _LOOK_S if until is None else min(_LOOK_S, left_s))
            else:
                return None

    async def __aiter__(self) -> AsyncIterator[Claim]:
        """Tasks for this agent, one after the other, for as long as it asks."""
        while (claim := await self.next()) is not None:
            yield claim

    def give_back(self) -> None:
        """Release what this agent holds; what it lost meanwhile stays lost."""
        for claim in list(self._held.values()):
            claim.release()

    def say(
        self,
        task_id: str,
        word: Word,
        *,
        over: Sequence[Phase] = (Phase.CLAIMED,),
        of: str | None = None,
        ends: bool = False,
    ) -> bool:
        """Write a word about a task where what counts is in one of these phases; return whether that was so.

        Args:
            task_id: The task.
            word: The word.
            over: The phases.
            of: The claim that must count.
            ends: Whether the task is not to be done any more.
        """
        todo, state = self._todo + task_id, self._state + task_id

        def decide(held: dict[str, list[object]]) -> dict[str, object]:
            counts = settled(words_in(held[state]))
            if counts.phase not in over or of not in (None, counts.claim):
                return {}
            return {state: written(word), **({todo: REMOVE} if ends else {})}

        self._held.pop(word.claim, None)
        return self._store.update((todo, state), decide)

    # --- inside --------------------------------------------------------------------------------------------------

    def _is_kept(self, claim: Claim) -> bool:
        """Whether a claim still counts; it is held no more if not."""
        if claim.is_lost:
            self._held.pop(claim.name, None)
        return claim.name in self._held

    def _take(self) -> Claim | None:
        self._room.check_entered()
        waiting = islice((task for task in self.tasks() if self._may_take(task)), _SPREAD)
        for task in sorted(waiting, key=lambda task: self._turn(task.id)):
            if (claim := self._claim(task)) is not None:
                self._held[claim.name] = claim
                return claim
        return None

    def _may_take(self, task: Task) -> bool:
        return task.needs <= self._room.capabilities and self._is_free(task.word)

    def _is_free(self, word: Word) -> bool:
        if word.phase is Phase.CLAIMED:
            return self._room.is_gone(word)
        return word.phase is Phase.OPEN

    def _claim(self, task: Task) -> Claim | None:
        todo, state = self._todo + task.id, self._state + task.id
        room, claimed = self._room, Word()

        def decide(held: dict[str, list[object]]) -> dict[str, object]:
            nonlocal claimed
            words = words_in(held[state])
            counts = settled(words)
            if not held[todo] or not self._is_free(counts):
                return {}
            attempt = 1 + max((word.attempt for word in words), default=0)
            if self.attempts_max is not None and attempt > self.attempts_max:
                claimed = replace(counts, phase=Phase.FAILED, result=GONE)
            else:
                claimed = room.word(Phase.CLAIMED, attempt)
            return {state: written(claimed)}

        if self._store.update((todo, state), decide) and claimed.phase is Phase.CLAIMED:
            return Claim(self, replace(task, word=claimed, rivals=()), claimed)
        return None

    def _names(self, prefix: str) -> list[str]:
        return [key.removeprefix(prefix) for key in self._store.keys(prefix)]

    def _turn(self, name: str) -> bytes:
        return hashlib.blake2b(f"{self._room.session} {name}".encode(), digest_size=8).digest()
