"""`propagul state watch`: each change of a key, or of an element of a structure, as one line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from propagul.store import _paths
from propagul.store._holdings import OTHER, TYPES, VALUE
from propagul.store._readable import dumps, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from propagul import AgentStateStore, Change


async def watch_changes(store: AgentStateStore, prefix: str, path: Path) -> None:
    """Link with the other processes of the directory and print what changes, until cancelled."""
    await store.start()
    click.echo(f"propagul: watching {store.room!r} in {path}; Ctrl-C ends it", err=True)
    try:
        async for change in store.watch(inside=True):
            told = described(store, change)
            if str(told["key"]).startswith(prefix):
                click.echo(dumps(told))
    finally:
        await store.stop()


def described(store: AgentStateStore, change: Change) -> dict[str, object]:
    """What a change says; for a counter, its value after it."""
    typed = _paths.parse(change.key)
    told: dict[str, object] = {"key": change.key, "type": OTHER if change.key.startswith("\0") else VALUE}
    if typed is not None:
        told = {"key": typed.name, "type": TYPES[typed.kind]}
        if typed.kind != _paths.COUNTER:
            told["path"] = [to_json(step) for step in typed.path]
    if typed is not None and typed.kind == _paths.COUNTER:
        told["value"] = store.counter(typed.name).value
    elif change.deleted:
        told["deleted"] = True
    elif typed is None or typed.kind != _paths.SET:
        told["value"] = to_json(change.value)
    if change.conflict and (typed is None or typed.kind == _paths.MAP):
        told["conflict"] = True
    if change.missed:
        told["missed"] = change.missed
    return told | {"cause": change.cause, "origin": change.origin}
