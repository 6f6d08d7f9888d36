"""`propagul fleet status`: the fleet as this machine's node sees it, as a table or as JSON.

The text in it was written by other machines, so nothing of it reaches the terminal as markup or as control characters.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from fleet_app.admin import NodeFile, read_node_file
from fleet_app.cli.elsewhere import client_of_running_node
from fleet_app.cli.frame import Doors, printable
from fleet_app.cli.words import ago, of_total
from fleet_app.config import load_data_dir
from fleet_app.errors import FleetError
from fleet_app.view import FleetView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.presence import BackendPresence, Gpu, NodePresence
    from fleet_app.view import NodeView

_REACHES = {"here": "this node", "linked": "directly", "relayed": "relayed", "none": "no"}
_MODELS_SHOWN = 4


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--data-dir", metavar="DIR", help="The running node's data directory.")
@click.pass_obj
def status(doors: Doors, *, as_json: bool, data_dir: str | None) -> None:
    """Show the nodes of the fleet, their engines, models and hardware."""
    path = load_data_dir({"data_dir": data_dir}, environ=os.environ)
    answer = client_of_running_node(path).status()
    if as_json:
        click.echo(json.dumps(answer | {"self": _self(read_node_file(path))}, indent=2))
        return
    fleet = view_of(answer)
    doors.console.print(table_of(fleet))
    for notice in (*exposures_of(fleet), *fleet.notices):
        doors.console.print(Text(f"! {printable(notice)}"))


def view_of(answer: Mapping[str, object]) -> FleetView:
    """The fleet in the admin API's answer.

    Raises:
        FleetError: It is none that this version reads.
    """
    try:
        return FleetView.of_json(answer)
    except (ValueError, KeyError, TypeError):
        raise FleetError("the node's answer has another shape than this version reads; try --json") from None


def exposures_of(fleet: FleetView) -> list[str]:
    """What others can reach without a key, box by box, each with the one thing to do."""
    return [
        f"{node.name}: {exposure.words}; {exposure.remedy}"
        for node in fleet.nodes
        if node.presence is not None and node.state != "down"
        for exposure in node.presence.exposures
    ]


def _self(node: NodeFile | None) -> dict[str, object] | None:
    return None if node is None else node.model_dump()


def table_of(fleet: FleetView) -> Table:
    """Return one row a node."""
    table = Table(box=None, pad_edge=False)
    for head in ("name", "state", "reached", "heard", "engines", "models", "CPU", "RAM", "GPU"):
        table.add_column(head, no_wrap=head in {"state", "reached", "heard", "CPU", "RAM"})
    for node in fleet.nodes:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in _cells(node)))
    return table


def _cells(node: NodeView) -> tuple[str, ...]:
    where = (node.name, node.state, _REACHES[node.reach], ago(node.heard_s))
    seen = node.presence
    if seen is None or node.state == "down":  # what a box measured before it went is not what is
        return (*where, "", "", "", "", "")
    cpu = f"{seen.cpu.percent:.0f}%" if seen.cpu else ""
    ram = of_total(seen.ram.used_bytes, seen.ram.total_bytes) if seen.ram else ""
    engines = ", ".join(map(_engine, seen.backends)) or "none"
    return (*where, engines, _models(seen), cpu, ram, ", ".join(map(_gpu, seen.gpus)))


def _engine(backend: BackendPresence) -> str:
    if backend.condition == "ready":
        return backend.kind
    why = f": {backend.reason}" if backend.reason else ""
    return f"{backend.kind} ({backend.condition.replace('_', ' ')}{why})"


def _models(presence: NodePresence) -> str:
    names = sorted({model.name for backend in presence.backends for model in backend.models})
    more = f" and {len(names) - _MODELS_SHOWN} more" if len(names) > _MODELS_SHOWN else ""
    return ", ".join(names[:_MODELS_SHOWN]) + more


def _gpu(gpu: Gpu) -> str:
    parts = [gpu.name]
    if gpu.percent is not None:
        parts.append(f"{gpu.percent:.0f}%")
    if gpu.vram is not None:
        parts.append(of_total(gpu.vram.used_bytes, gpu.vram.total_bytes))
    return " ".join(parts)
