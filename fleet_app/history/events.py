"""What happened, in words: who came and went, what began and failed.

`Events.add` is for whoever does something of interest; what the fleet shows by itself, `Observer` makes events of.
Words are for people: one line, no prompt, no key.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fleet_app.history.book import EventRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fleet_app.history.book import Book
    from fleet_app.presence import BackendPresence
    from fleet_app.view import FleetView, NodeView

WORDS_MAX: Final = 256
NAMED_MAX: Final = 8
"""Models of one engine that an event names; of more it tells how many."""

SETTLE_S: Final = 20.0
"""What is found in the first seconds of a run was there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        at_s: When this node saw it, seconds since the epoch.
        kind: A word such as `node_down` or `pull_failed`.
        node: At which node, by its id; empty for the fleet.
        subject: Of what: the name of a node or a model, the address of an engine.
        words: A sentence for people.
    """

    at_s: float
    kind: str
    node: str
    subject: str
    words: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


class Events:
    """The events that this node knows of.

    Args:
        book: Where they are kept.
        node: This node.
        wall: Seconds since the epoch.
    """

    def __init__(self, book: Book, node: str, wall: Callable[[], float] = time.time) -> None:
        self._book, self._node, self._wall = book, node, wall

    def add(self, kind: str, subject: str, words: str, *, node: str | None = None) -> None:
        """Note that something happened, at this node if no other is named. Any thread; never waits.

        Args:
            kind: A short word.
            subject: Of what.
            words: A sentence; cut to one line of 256 characters.
            node: At which node.
        """
        where = self._node if node is None else node
        told = (text[:WORDS_MAX] for text in (kind, where, subject, " ".join(words.split())))
        self._book.put(EventRow(self._wall(), *told))

    def latest(
        self, limit: int = 100, *, since_s: float = 0.0, kinds: Sequence[str] = (), node: str | None = None
    ) -> list[Event]:
        """The newest events, newest first. Reads the disk: belongs into a thread."""
        rows = self._book.events(since_s=since_s, kinds=kinds, node=node, limit=max(0, min(limit, 1000)))
        return [Event(at_s=row.at, **{k: v for k, v in row._asdict().items() if k != "at"}) for row in rows]


class Observer:
    """Makes events of how the fleet looks, view after view.

    Args:
        add: `Events.add`.
        now: By the clock of all later calls.
    """

    def __init__(self, add: Callable[..., None], now: float) -> None:
        self._add, self._settled_at = add, now + SETTLE_S
        self._seen: dict[str, NodeView] = {}

    def saw(self, view: FleetView, now: float) -> None:
        """Compare with the view before."""
        for node in view.nodes:
            before = self._seen.get(node.id)
            if now >= self._settled_at:
                for kind, subject, words in _changes(before, node):
                    self._add(kind, subject, words, node=node.id)
        self._seen = {node.id: node for node in view.nodes}


def _changes(before: NodeView | None, now: NodeView) -> Iterator[tuple[str, str, str]]:
    """What happened to a node between two views: kind, subject, words."""
    was_up, is_up = before is not None and before.state != "down", now.state != "down"
    if is_up and not was_up:
        yield "node_up", now.name, f"{now.name} is there"
    elif was_up and not is_up:
        yield "node_down", now.name, f"{now.name} cannot be reached"
    elif before is not None and is_up and before.state != now.state:
        draining = now.state == "draining"
        yield "node_state", now.name, f"{now.name} {'takes nothing new' if draining else 'takes requests again'}"
    if before is None or not (was_up and is_up) or before.presence is None or now.presence is None:
        return
    if before.presence.backends != now.presence.backends:
        yield from _engines(now.name, _by_url(before.presence.backends), _by_url(now.presence.backends))
    throttled = {gpu.index: gpu.throttled for gpu in before.presence.gpus}
    for gpu in now.presence.gpus:
        reasons = throttled.get(gpu.index, ())
        if gpu.throttled and not reasons:
            why = " and ".join(gpu.throttled)
            yield "throttle_began", gpu.name, f"GPU {gpu.index} of {now.name} is held back: {why}"
        elif reasons and not gpu.throttled:
            yield "throttle_ended", gpu.name, f"GPU {gpu.index} of {now.name} runs freely again"


def _engines(
    name: str, before: Mapping[str, BackendPresence], now: Mapping[str, BackendPresence]
) -> Iterator[tuple[str, str, str]]:
    for url in sorted(before.keys() - now.keys()):
        yield "engine_gone", url, f"{before[url].kind} at {url} on {name} is gone"
    for url, engine in sorted(now.items()):
        old = before.get(url)
        if old is None:
            yield "engine_came", url, f"{engine.kind} at {url} on {name} is there ({engine.condition})"
        elif old.condition != engine.condition:
            why = f": {engine.reason}" if engine.reason else ""
            yield "engine_condition", url, f"{engine.kind} at {url} on {name} is {engine.condition}{why}"
        elif engine.condition == "ready":
            yield from _models(name, old, engine)


def _models(name: str, before: BackendPresence, now: BackendPresence) -> Iterator[tuple[str, str, str]]:
    had, has = ({model.name for model in engine.models} for engine in (before, now))
    for kind, names, verb in (("model_gone", had - has, "no longer has"), ("model_came", has - had, "has")):
        for model in sorted(names)[:NAMED_MAX]:
            yield kind, model, f"{now.kind} on {name} {verb} {model}"
        if len(names) > NAMED_MAX:
            yield kind, now.url, f"{now.kind} on {name} {verb} {len(names) - NAMED_MAX} more models"


def _by_url(engines: Sequence[BackendPresence]) -> dict[str, BackendPresence]:
    return {engine.url: engine for engine in engines}
