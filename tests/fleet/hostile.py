"""Decoders of the fleet for hostile bytes, and frames that are good; `tests.fuzz` gives them both.

What members of the fleet may say to each other: rows of what is declared, changes, rows of nodes, presence, questions
of history and their answers; besides, files that people are handed: declarations, backups.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from fleet_app import replica, roster
from fleet_app.backup import restoring
from fleet_app.backup.manifest import Entry, Manifest, read_manifest
from fleet_app.desired import (
    NOTHING,
    By,
    Desired,
    Holds,
    Place,
    Source,
    changes,
    commit,
    edits_of,
    facts_of,
    parse,
    undo,
)
from fleet_app.desired.edits import CHANGES, Change, Edited, _packed
from fleet_app.desired.export import document_of
from fleet_app.desired.fields import IN_FILES
from fleet_app.desired.plan import plan
from fleet_app.desired.rows import DESIRED, Value, packed
from fleet_app.desired.shown import declared_json
from fleet_app.errors import ConfigError, FleetError
from fleet_app.history import questions
from fleet_app.history.events import Event, Observer
from fleet_app.history.figures import figures_of
from fleet_app.history.series import NAMES_MAX, Series
from fleet_app.presence.account import Account
from fleet_app.presence.beat import pack
from fleet_app.presence.intake import Bounds
from fleet_app.presence.rows import standing_rows
from fleet_app.view import FleetView, NodeView
from propagul import Heard
from propagul.crdt import Packed, wire
from propagul.errors import StoreCorrupt
from propagul.link import NodeId
from propagul.store import _values
from tests.desired import facts
from tests.presence.scene import box, engine, gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fleet_app.history import History
    from propagul import AgentStateStore

    Decoder = tuple[Callable[[bytes], object], type[Exception] | tuple[type[Exception], ...]]

NODE: Final = NodeId("n" * 52)
_LIMITS: Final = _values.Limits()
DECLARED: Final = facts.declared(m={"where": "all"}, r={"where": {"vram_gb": ">=1"}, "replicas": 1, "loaded": True})
NODES: Final = (facts.node("attic", "m:latest", vram_gib=8), facts.node("cellar"))
FILE: Final = b"""
models:
  llama3.1:8b: {where: {labels: {gpu: nvidia}, vram_gb: ">=8"}, engine: ollama, settings: {num_ctx: 8192}}
  old-model: {state: absent}
nodes: {attic: {labels: {room: attic}, drain: true}}
settings: {replace_after: 24h}
"""
SERIES: Final = Series(node=NODE, start_s=0, step_s=1, values={"cpu": [1.0, None]})
EVENT: Final = Event(at_s=1.0, kind="pull_began", node=NODE, subject="m", words="pulling m")


def value(frame: bytes) -> object:
    """What stands in a row, or came as an answer."""
    return _values.thaw("k", Packed(frame))


def parts(frame: bytes, *shape: type) -> list[object]:
    """A list that begins so; what is none is as good as a row that cannot be read."""
    match value(frame):
        case list() as found if [type(part) for part in found[: len(shape)]] == [*shape]:
            return found
        case _:
            raise StoreCorrupt("not for this decoder")


def declared(frame: bytes) -> object:
    """Rows of what is declared: read, planned, shown, and exported as a file that says the same."""
    rows = facts.Rows()
    key, *siblings = parts(frame, str, list)
    rows.values = {DESIRED + "models/m/where": [packed("all", facts.BY)], DESIRED + cast("str", key): siblings}
    desired = Desired.read(rows)
    json.dumps([declared_json(desired), str(plan(desired, NODES))])
    names = {node.id: node.name for node in NODES}
    read = parse(document_of(desired, names).encode(), "f")
    for name, spec in desired.models.items():
        told = {path for path in spec.values if path[0] in IN_FILES["models"]}
        assert {(field,) for field in read.models[name]} == {path[:1] for path in told}
        assert all(read.models[name][path[0]] == spec.values[path].value for path in told if len(path) == 1)
    return desired


def changed(frame: bytes) -> object:
    """A change that is remembered: taken back, as far as its values can be written."""
    rows = facts.Rows()
    change_id, row = parts(frame, str, dict)[:2]
    rows.values = {CHANGES + cast("str", change_id): [row]}
    for change in changes(rows):
        now = {place: Value(after, facts.BY) for place, _, after in change.edits if after is not NOTHING}
        edits, _ = undo(change, now)
        commit(rows, edits, facts.BY, undoes=change.id)
    return rows


def holds(frame: bytes) -> object:
    found = Holds.read(value(frame))
    assert Holds.read(found.packed()) == found
    return found


def who(frame: bytes) -> object:
    """The durable row of a node."""
    row = value(frame)
    addresses = row.get("addresses") if isinstance(row, dict) else None
    return roster._identity(row, NODE), replica._addresses(addresses)


def _noted(kind: str, subject: str, words: str, *, node: str) -> None:
    json.dumps([kind, subject, words, node])


def presence(frame: bytes) -> object:
    """The rows of a node, by their names: bounded, read, shown to people, planned with, and kept for later."""
    rows, bounds, account = parts(frame, dict)[0], Bounds(), Account(0.0)
    heard = {
        name: Heard(value=bounds.admit(name, row), age_s=0.0, origin="0")
        for name, row in cast("dict[object, object]", rows).items()
        if isinstance(name, str)
    }
    account.take(heard, 0.0)
    quiet = NodeView(id=NODE, name="n", state="down", reach="none", heard_s=None, presence=None)
    views = [FleetView(nodes=(quiet,))]
    for now in (1.0, 1e6):
        said = account.presence(now, 0.0)
        views.append(FleetView(nodes=(replace(quiet, state="up", reach="linked", heard_s=0.0, presence=said),)))
        if said is not None:
            assert all(map(math.isfinite, figures_of(said).values()))
    seen = Observer(_noted, -1e9)
    for view in views:
        text = json.dumps(view.to_json(), allow_nan=False)
        assert [node.presence for node in FleetView.of_json(json.loads(text)).nodes] == [view.nodes[0].presence]
        plan(DECLARED, facts_of(view, DECLARED, {}, {}))
        seen.saw(view, 0.0)
    return account.refused


def wanted(frame: bytes) -> object:
    """A question, answered out of a history that is as careful as the real one."""

    class Events:
        def latest(self, limit: int, *, since_s: float, kinds: Sequence[str]) -> list[Event]:
            assert (0 <= limit <= questions.EVENTS_PER_ANSWER, since_s >= 0.0, len(kinds) <= 32) == (True,) * 3
            return [EVENT]

    class Kept:
        events = Events()

        def series(self, _: str, names: Sequence[str], *, start_s: float, end_s: float | None, step_s: float) -> Series:
            assert len(names) <= NAMES_MAX
            assert all(0 <= second <= 1e12 for second in (start_s, end_s or 0.0, step_s))
            return SERIES

    route, arguments = parts(frame, str)[:2]
    answer = questions.answers(cast("History", Kept()), NODE).get(cast("str", route))

    async def answered() -> object:
        return None if answer is None else await answer(NODE, arguments)

    return asyncio.run(answered())


def told(frame: bytes) -> object:
    """An answer to each question."""

    async def query(_: NodeId, route: str, arguments: object) -> object:
        assert route in {"history", "events"}
        assert isinstance(arguments, dict)
        return found

    found = value(frame)
    for ask in (questions.series_of(query, NODE, start_s=0.0), questions.events_of(query, NODE)):
        try:
            asyncio.run(ask)
        except FleetError:
            continue
    return found


class Store:
    """Takes what a store takes."""

    def set(self, key: str, told: object) -> None:
        _values.freeze(_values.check_key(key, _LIMITS), told, _LIMITS)


def file(content: bytes) -> object:
    """A declaration that somebody was handed."""
    document = parse(content, "f")
    edits = edits_of(document, Desired(), NODES, Source("f@attic"), prune=True)
    rows = facts.Rows()
    commit(rows, edits, By("ann", 1.0, "cli"))
    return document_of(Desired.read(rows), {})


DECODERS: Final[dict[str, Decoder]] = {
    "declared": (declared, StoreCorrupt),
    "changed": (changed, (StoreCorrupt, ConfigError)),
    "holds": (holds, StoreCorrupt),
    "who": (who, StoreCorrupt),
    "presence": (presence, StoreCorrupt),
    "wanted": (wanted, (StoreCorrupt, ValueError, TypeError)),
    "told": (told, StoreCorrupt),
    "file": (file, ConfigError),
    "manifest": (lambda content: read_manifest(content, "f"), FleetError),
    "declaration": (lambda line: restoring._declare(cast("AgentStateStore", Store()), line), FleetError),
}


def _row(*items: object) -> bytes:
    return wire.pack(list(items))


_EDITED: Final = Edited(Place("models", "m", "where"), "all", {"nodes": ["attic"]})
_CHANGE: Final = Change(id="1764486000000-9f3a11c2", by=facts.BY, note="why", undoes="", edits=(_EDITED,))
_SAID: Final = box(gpus=(gpu(0), gpu(1)), backends=(engine(), engine("http://127.0.0.1:8000")))
_NUMBERS: Final = {backend.url: number for number, backend in enumerate(_SAID.backends)}
_FILES: Final = {"declared.jsonl": Entry(size=1, sha256="0" * 64)}
_MANIFEST: Final = Manifest(kind="declared", fleet="f", name="n", made_s=1.0, program="1", files=_FILES)

GOOD: Final[dict[str, list[bytes]]] = {
    "declared": [
        _row(f"models/m/{field}", [told, list(facts.BY)], [other, ["bob@cellar", 1.5, "page"]])
        for field, told, other in (
            ("where", {"labels": {"gpu": "nvidia"}, "vram_gb": ">=8", "nodes": ["attic"]}, "all"),
            ("state", "absent", "present"),
            ("replicas", 2, 3),
            ("settings/num_ctx", 8192, 0.5),
        )
    ]
    + [
        _row(f"nodes/{NODES[0].id}/labels/room", ["attic", list(facts.BY)]),
        _row("settings/replace_after", ["24h", list(facts.BY)]),
    ],
    "changed": [_row(_CHANGE.id, _packed(_CHANGE))],
    "holds": [wire.pack({"has": ["a"], "claims": ["b"], "failed": ["c"]})],
    "who": [wire.pack({"name": "attic", "version": "1", "addresses": ["192.0.2.1:9000"]})],
    "presence": [_row({**standing_rows(_SAID, _NUMBERS), "": pack(_SAID, _NUMBERS, next_s=15.0)})],
    "wanted": [
        _row("history", {"names": ["cpu"], "start_s": 0.0, "end_s": 9.0, "step_s": 1}),
        _row("events", {"limit": 5, "since_s": 0.0, "kinds": ["pull_began"]}),
    ],
    "told": [wire.pack(SERIES.to_json()), _row(EVENT.to_json())],
    "file": [FILE],
    "manifest": [_MANIFEST.model_dump_json().encode()],
    "declaration": [b'["desired/models/m/where", ["all", ["ann", {"$float": "inf"}, "cli"]]]\n'],
}

_ODD: Final[list[object]] = [
    *(None, True, 0, -1, 256, 2**63 - 1, -(2**63), 2**64 - 1, -1.5, 1e308, math.inf, b"", b"\xff"),
    *("", "x" * 300, "\n", "\x1b[31m", "\u202e", "absent", "all", "9" * 30 + "d", ">=8", "0"),
    *([], {}, [[]], {"": 0}, {1: 2}, {"a": {"b": [1]}}, [[[[[[[1]]]]]]], ["all", ["ann", 1.0, "x"]]),
]
"""What may stand where something else should."""


def twisted(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Good frames in which some values are other ones, doubled, gone or under another name; each for its decoder."""
    chance = random.Random(seed)
    kinds = [kind for kind, (_, error) in DECODERS.items() if _is_row(error)]
    for _ in range(count):
        kind = chance.choice(kinds)
        yield kind, wire.pack(_twisted(value(chance.choice(GOOD[kind])), chance, chance.choice((0.01, 0.03, 0.1, 0.3))))


def _is_row(error: type[Exception] | tuple[type[Exception], ...]) -> bool:
    """Whether what a decoder is given is a value of the store."""
    return error is StoreCorrupt or (isinstance(error, tuple) and StoreCorrupt in error)


def _twisted(good: object, chance: random.Random, share: float) -> object:
    if chance.random() < share:
        return chance.choice(_ODD)
    if isinstance(good, list):
        found = [_twisted(item, chance, share) for item in good if chance.random() >= share]
        return [*found, *found] if chance.random() < share else found
    if isinstance(good, dict):
        told = {name: _twisted(item, chance, share) for name, item in good.items() if chance.random() >= share}
        return told | ({chance.choice(("", "x", 1, *told)): chance.choice(_ODD)} if chance.random() < share else {})
    return good
