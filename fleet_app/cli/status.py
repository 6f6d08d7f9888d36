"""`propagul fleet status`: the fleet as this machine's node sees it, as a table or as JSON.

The text in it was written by other machines, so nothing of it reaches the terminal as markup or as control characters.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Literal

import click
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.table import Table
from rich.text import Text

from fleet_app.admin import NodeFile, read_node_file
from fleet_app.cli.elsewhere import client_of_running_node
from fleet_app.cli.frame import Doors, printable
from fleet_app.cli.words import ago, of_total
from fleet_app.config import load_data_dir
from fleet_app.errors import FleetError
from fleet_app.presence import NodePresence  # noqa: TC001 - pydantic resolves the annotations

if TYPE_CHECKING:
    from fleet_app.presence import BackendPresence, Gpu

_REACHES = {"here": "this node", "linked": "directly", "relayed": "relayed", "none": "no"}
_MODELS_SHOWN = 4


class NodeRow(BaseModel):
    """One node in the admin API's answer; fields as `fleet_app.view.NodeView`."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: str
    name: str
    state: Literal["up", "draining", "down"]
    reach: Literal["here", "linked", "relayed", "none"]
    heard_s: float | None = None
    presence: NodePresence | None = None


class FleetRows(BaseModel):
    """The admin API's answer, as far as the table shows it."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    nodes: tuple[NodeRow, ...]
    notices: tuple[str, ...] = ()


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
    try:
        fleet = FleetRows.model_validate(answer)
    except ValidationError:
        raise FleetError("the node's answer has another shape than this version reads; try --json") from None
    doors.console.print(table_of(fleet))
    for notice in fleet.notices:
        doors.console.print(Text(f"! {printable(notice)}"))


def _self(node: NodeFile | None) -> dict[str, object] | None:
    return None if node is None else node.model_dump()


def table_of(fleet: FleetRows) -> Table:
    """Return one row a node."""
    table = Table(box=None, pad_edge=False)
    for head in ("name", "state", "reached", "heard", "engines", "models", "CPU", "RAM", "GPU"):
        table.add_column(head, no_wrap=head in {"state", "reached", "heard", "CPU", "RAM"})
    for node in fleet.nodes:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in _cells(node)))
    return table


def _cells(node: NodeRow) -> tuple[str, ...]:
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
