"""What is declared as a document that can be applied again. Pure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from fleet_app.desired.fields import IN_FILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ruamel.yaml.nodes import ScalarNode

    from fleet_app.desired.fields import Table
    from fleet_app.desired.rows import Value
    from fleet_app.desired.specs import Desired


class _Representer(RoundTripRepresenter):
    """Writes every number with a point: `1e-07` would be read as text."""

    def number(self, value: float) -> ScalarNode:
        text = repr(value)
        return self.represent_scalar("tag:yaml.org,2002:float", text if "." in text else text.replace("e", ".0e"))


_Representer.add_representer(float, _Representer.number)


def document_of(desired: Desired, names: Mapping[str, str], *, only: str | None = None) -> str:
    """The file, of one model or of all that is declared.

    Args:
        desired: What is declared.
        names: What nodes are called, by their ids.
        only: The one model to show.
    """
    models = {name: _fields("models", spec.values) for name, spec in desired.models.items() if only in {None, name}}
    tables: dict[str, object] = {"models": models}
    if only is None:
        tables["nodes"] = {names.get(node, node): _fields("nodes", spec.values) for node, spec in desired.nodes.items()}
        tables["settings"] = {
            place.field: found.value for place, found in desired.values.items() if place.table == "settings"
        }
    writer = YAML()
    writer.Representer = _Representer
    writer.default_flow_style = False
    writer.version = (1, 2)
    text = io.StringIO()
    writer.dump({table: entries for table, entries in tables.items() if entries}, text)
    return text.getvalue().removeprefix("%YAML 1.2\n---\n")


def _fields(table: Table, values: Mapping[tuple[str, ...], Value]) -> dict[str, object]:
    found: dict[str, object] = {}
    for path, held in values.items():
        if path[0] not in IN_FILES[table]:
            continue
        if len(path) == 1:
            found[path[0]] = held.value
        else:
            inner = found.setdefault(path[0], {})
            assert isinstance(inner, dict)
            inner[path[1]] = held.value
    return found
