"""`propagul fleet nodes`, `models` and `top`: what is there, by box, by model, and live."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fleet_app.cli.frame import Doors, printable
from fleet_app.cli.options import data_dir_option, json_option, open_fleet
from fleet_app.cli.status import table_of
from fleet_app.cli.words import ago, of_total
from fleet_app.desired import amount
from fleet_app.names import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fleet_app.desired import Desired, NodeFacts
    from fleet_app.presence import Model, Pull
    from fleet_app.view import FleetView, NodeView

_BAR = 20


@click.command
@json_option
@data_dir_option
@click.pass_obj
def nodes(doors: Doors, *, as_json: bool, data_dir: str | None) -> None:
    """Show every box: what it is, what it has room for, its labels, and whether it takes models."""
    with open_fleet(data_dir) as fleet:
        facts, view = fleet.nodes(), {node.id: node for node in fleet.view().nodes}
    if as_json:
        click.echo(json.dumps([_node_json(node) for node in facts], indent=2))
        return
    rows = [_node_cells(node, view[node.id]) for node in sorted(facts, key=lambda node: node.name.casefold())]
    doors.console.print(_table(("name", "state", "heard", "labels", "takes", "disk", "GPU memory", "id"), rows))


@click.command
@json_option
@data_dir_option
@click.pass_obj
def models(doors: Doors, *, as_json: bool, data_dir: str | None) -> None:
    """Show every model: where it is, whether it is loaded there, and whether it is declared."""
    with open_fleet(data_dir) as fleet:
        view, desired = fleet.view(), fleet.desired()
    found = _models(view, desired)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [
        (
            model["name"],
            ", ".join(f"{at['node']}{' (loaded)' if at['loaded'] else ''}" for at in model["places"]) or "nowhere",
            amount(model["size_bytes"]) if model["size_bytes"] else "",
            ", ".join(model["capabilities"]),
            "yes" if model["declared"] else "",
        )
        for model in found
    ]
    doors.console.print(_table(("model", "on", "size", "can", "declared"), rows))


@click.command
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.2, 60), help="Seconds between looks.")
@click.option("--times", default=0, metavar="N", help="Look so often and end; for ever when 0.")
@data_dir_option
@click.pass_obj
def top(doors: Doors, *, every: float, times: int, data_dir: str | None) -> None:
    """Watch the fleet live: boxes, what is on its way, what is blocked. Ctrl-C ends it."""
    with open_fleet(data_dir) as fleet, Live(console=doors.console, auto_refresh=False, screen=times == 0) as live:
        looks = 0
        while not times or looks < times:
            live.update(_screen(fleet.view()), refresh=True)
            looks += 1
            if looks != times:
                time.sleep(every)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    return table


def _node_cells(node: NodeFacts, seen: NodeView) -> tuple[str, ...]:
    spec = node.spec
    takes = "nothing: drained" if spec.is_drained else "no new models" if spec.is_cordoned else "all"
    labels = " ".join(f"{label}={text}" for label, text in sorted(node.labels.items()))
    disk = "" if node.disk is None else of_total(node.disk.used_bytes, node.disk.total_bytes)
    vram = "" if node.vram_bytes is None else of_total(node.vram_used_bytes or 0, node.vram_bytes)
    state = f"{seen.state}, expected sometimes" if spec.is_sometimes and seen.state == "down" else seen.state
    return node.name, state, ago(seen.heard_s), labels, takes, disk, vram, node.id[:12]


def _node_json(node: NodeFacts) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "up": node.is_up,
        "labels": dict(node.labels),
        "drained": node.spec.is_drained,
        "cordoned": node.spec.is_cordoned,
        "sometimes": node.spec.is_sometimes,
        "disk": None if node.disk is None else node.disk.model_dump(),
        "vram_bytes": node.vram_bytes,
        "vram_used_bytes": node.vram_used_bytes,
        "ram_bytes": node.ram_bytes,
        "engines": [{"kind": engine.kind, "url": engine.url, "condition": engine.condition} for engine in node.engines],
    }


def _models(view: FleetView, desired: Desired) -> list[dict[str, Any]]:
    found = {name: _model_json(name, declared=True) for name in desired.models}
    known = {canonical("ollama", name): name for name in desired.models}
    for node, kind, model in _held(view):
        name = known.get(canonical(kind, model.name), model.name)
        entry = found.setdefault(name, _model_json(name, declared=False))
        entry["size_bytes"] = entry["size_bytes"] or model.size_bytes
        entry["capabilities"] = entry["capabilities"] or list(model.capabilities)
        entry["places"].append({"node": node, "engine": kind, "loaded": model.loaded})
    return [found[name] for name in sorted(found)]


def _model_json(name: str, *, declared: bool) -> dict[str, Any]:
    return {"name": name, "declared": declared, "size_bytes": None, "capabilities": [], "places": []}


def _held(view: FleetView) -> Iterator[tuple[str, str, Model]]:
    for node in view.nodes:
        for engine in node.presence.backends if node.presence is not None and node.state != "down" else ():
            yield from ((node.name, engine.kind, model) for model in engine.models)


def _screen(view: FleetView) -> Group:
    parts: list[Any] = [table_of(view)]
    pulls = [(node.name, pull) for node, pull in _doing(view)]
    if pulls:
        parts += [Text(), _table(("pulling", "box", "", "of"), [_pull_cells(name, pull) for name, pull in pulls])]
    troubles = [
        (node.name, condition.model, condition.kind, condition.reason)
        for node in view.nodes
        for condition in (node.presence.conditions if node.presence is not None and node.state != "down" else ())
        if condition.kind in {"Blocked", "Degraded"}
    ]
    if troubles:
        parts += [Text(), _table(("box", "model", "stands", "why"), troubles)]
    parts += [Text(printable(f"! {notice}"), style="yellow") for notice in view.notices]
    return Group(*parts)


def _doing(view: FleetView) -> Iterator[tuple[NodeView, Pull]]:
    for node in view.nodes:
        yield from ((node, pull) for pull in (node.presence.pulls if node.presence and node.state != "down" else ()))


def _pull_cells(box: str, pull: Pull) -> tuple[str, ...]:
    if not pull.total_bytes:
        return pull.model, box, pull.status, ""
    part = min(1.0, pull.completed_bytes / pull.total_bytes)
    bar = "#" * round(part * _BAR)
    return pull.model, box, f"[{bar:<{_BAR}}] {part:.0%}", amount(pull.total_bytes)
