"""How edits and plans are shown, and the question before they are made."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from fleet_app.cli.frame import printable
from fleet_app.cli.words import of_total
from fleet_app.desired import amount
from fleet_app.desired.edits import Nothing
from fleet_app.desired.selector import Selector
from fleet_app.engine_names import ENGINE_NAMES
from fleet_app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from fleet_app.desired import Edit, Place
    from fleet_app.desired.edits import Edited
    from fleet_app.desired.plan import After, Plan
    from fleet_app.fleet import Fleet

_VERBS = {"pull": "pull", "delete": "DELETE", "load": "load", "unload": "unload", "cancel": "cancel"}


def make(console: Console, fleet: Fleet, edits: Sequence[Edit], *, note: str, yes: bool) -> bool:
    """Show what edits change and do, ask, and make them; whether they were made.

    Raises:
        ConfigError: There is nobody to ask.
        click.Abort: The answer was no.
    """
    edited = fleet.difference(edits)
    if not edited:
        console.print("Nothing to change: it is declared so already.")
        return False
    plan = fleet.plan(edits)
    show(console, fleet, edited, plan)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("this asks before it changes anything; say --yes where nobody can answer")
        click.confirm("Make it so?", abort=True, err=True)
    change = fleet.apply(edits, note=note)
    where = "" if fleet.is_live else " The other boxes hear of it when this box's node runs."
    console.print(Text(f"Declared, as change {change}; take it back with: propagul fleet undo.{where}"))
    return True


def show(console: Console, fleet: Fleet, edited: Sequence[Edited], plan: Plan) -> None:
    """Print a difference and what would be done about it."""
    names = {node.id: node.name for node in fleet.nodes()}
    for line in difference_lines(edited, names):
        console.print(line)
    if plan.steps:
        console.print(_steps(plan))
        if total := _sum(plan):
            console.print(Text(total))
        for name, after in sorted(plan.after.items(), key=lambda item: item[0].casefold()):
            console.print(Text(printable(f"  {name}: {_standing(after)}")))
    for node, model in plan.later:
        console.print(Text(printable(f"  {node} is away and follows when it returns: {model}")))
    for stuck in plan.stuck:
        console.print(Text(printable(f"! {stuck.node}: {stuck.model}: {stuck.reason}"), style="yellow"))
    if not (plan.steps or plan.later or plan.stuck):
        console.print("No box has anything to do.")


def difference_lines(edited: Iterable[Edited], names: dict[str, str]) -> Iterator[Text]:
    """One line a field: what it was and what it becomes."""
    for place, before, after in sorted(edited, key=lambda one: one.place):
        if place.field == "source":
            continue  # which file it was is seen by `get`
        name = names.get(place.name, place.name) if place.table == "nodes" else place.name
        where = ".".join(part for part in (place.table, name, place.field, place.key) if part)
        if isinstance(before, Nothing):
            yield Text(printable(f"+ {where}: {_value(place, after)}"), style="green")
        elif isinstance(after, Nothing):
            yield Text(printable(f"- {where}: {_value(place, before)}"), style="red")
        else:
            yield Text(printable(f"~ {where}: {_value(place, before)} -> {_value(place, after)}"), style="yellow")


def plan_json(edited: Iterable[Edited], plan: Plan) -> dict[str, Any]:
    """The same for programs."""
    return {
        "changes": [
            {
                "place": str(one.place),
                "before": None if isinstance(one.before, Nothing) else one.before,
                "after": None if isinstance(one.after, Nothing) else one.after,
            }
            for one in edited
        ],
        "steps": [
            {
                "node": step.node,
                "verb": step.verb,
                "model": step.model,
                "engine": step.engine,
                "size_bytes": step.size_bytes,
            }
            for step in plan.steps
        ],
        "later": [{"node": node, "model": model} for node, model in plan.later],
        "stuck": [stuck._asdict() for stuck in plan.stuck],
    }


def _value(place: Place, value: object) -> str:
    if place.field == "where":
        return str(Selector.read(value))
    return value if isinstance(value, str) else json.dumps(value)


def _steps(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("box", "does", "model", "by", "size"):
        table.add_column(head)
    for step in sorted(plan.steps, key=lambda step: step.node.casefold()):
        size = "not known yet" if step.size_bytes is None else amount(step.size_bytes)
        cells = (step.node, _VERBS[step.verb], step.model, ENGINE_NAMES[step.engine], size)
        table.add_row(*(Text(printable(cell)) for cell in cells), style="bold red" if step.verb == "delete" else None)
    return table


def _sum(plan: Plan) -> str:
    pulls = [step for step in plan.steps if step.verb == "pull"]
    unknown = sum(1 for step in pulls if step.size_bytes is None)
    known = [f"{amount(plan.pull_bytes)} to pull"] if len(pulls) > unknown else []
    later = [f"{unknown} {'pull' if unknown == 1 else 'pulls'} of a size that shows when it begins"] if unknown else []
    return ", and ".join([*known, *later])


def _standing(after: After) -> str:
    words = [] if after.disk is None else [f"disk {of_total(after.disk.used_bytes, after.disk.total_bytes)}"]
    if after.vram_bytes is not None and after.vram_used_bytes is not None:
        words.append(f"GPU memory {of_total(after.vram_used_bytes, after.vram_bytes)}")
    return ", ".join(words) + " afterwards" if words else "cannot tell its disk"
