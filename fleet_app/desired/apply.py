"""From a file to the edits that make it so. Pure.

A file says all of a model that it names: a field that is not in it is taken away. Of nodes and settings it says only
what stands in it, because people label and drain boxes by hand, too. What the file does not name stays untouched; with
`prune`, models go that the same file declared earlier and names no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fleet_app.desired.edits import NOTHING, Edit
from fleet_app.desired.fields import TABLES
from fleet_app.desired.rows import Place
from fleet_app.desired.selector import ALL, is_named
from fleet_app.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fleet_app.desired.document import Document
    from fleet_app.desired.fields import Table
    from fleet_app.desired.selector import Place as NodePlace
    from fleet_app.desired.specs import Desired, ModelSpec


class Source(NamedTuple):
    """The file, as the rows name it.

    Attributes:
        name: `fleet.yaml@attic`: the file's name and the box it lies on.
        watched: Whether it is watched, so that its rows are changed there and nowhere else.
    """

    name: str
    watched: bool = False


def edits_of(
    document: Document, desired: Desired, nodes: Sequence[NodePlace], source: Source, *, prune: bool = False
) -> list[Edit]:
    """The edits that make a document so.

    Raises:
        ConfigError: A node is not known, or a model is managed by another file.
    """
    edits: list[Edit] = []
    for name, fields in document.models.items():
        _check_managed(document, desired.models.get(name), name, source)
        edits += _model(name, fields, desired.models.get(name), source)
    for name, fields in document.nodes.items():
        node = node_called(name, nodes, blame=document.where("nodes", name))
        edits += [Edit(place, value) for place, value in _flat("nodes", node.id, fields)]
    edits += [Edit(Place("settings", "", field), value) for field, value in document.settings.items()]
    if prune:
        for spec in declared_by(desired, source):
            if spec.name not in document.models:
                edits += dropping(spec)
    return edits


def declared_by(desired: Desired, source: Source) -> Iterator[ModelSpec]:
    """Models that a file declared; one that another file is watched for is that one's, whoever declared it before."""
    return (spec for spec in desired.models.values() if source.name == (spec.managed_by or spec.source))


def dropping(spec: ModelSpec) -> list[Edit]:
    """The edits that take a declaration away. Weights stay where they are."""
    return [Edit(Place("models", spec.name, *path), NOTHING) for path in spec.values]


def node_called(name: str, nodes: Iterable[NodePlace], *, blame: str = "") -> NodePlace:
    """The node that a name means.

    Raises:
        ConfigError: There is none, or more than one.
    """
    known = list(nodes)
    found = [node for node in known if is_named(node, name)]
    if len(found) == 1:
        return found[0]
    head = f"{blame}: " if blame else ""
    if found:
        ids = ", ".join(node.id[:12] for node in found)
        raise ConfigError(f"{head}{len(found)} nodes are called {name!r}; name it by its id: {ids}")
    raise ConfigError(f"{head}no node is called {name[:64]!r}{did_you_mean(name, [node.name for node in known])}")


def _model(name: str, fields: Mapping[str, object], spec: ModelSpec | None, source: Source) -> Iterator[Edit]:
    said = {**fields, "where": fields.get("where", ALL), ("managed_by" if source.watched else "source"): source.name}
    wanted = dict(_flat("models", name, said))
    for path in spec.values if spec is not None else ():
        place = Place("models", name, *path)
        if place not in wanted:
            yield Edit(place, NOTHING)
    yield from (Edit(place, value) for place, value in wanted.items())


def _flat(table: Table, name: str, fields: Mapping[str, object]) -> Iterator[tuple[Place, object]]:
    for field, value in fields.items():
        if TABLES[table][field].open_keys:
            assert isinstance(value, dict)
            yield from ((Place(table, name, field, key), inner) for key, inner in value.items())
        else:
            yield Place(table, name, field), value


def _check_managed(document: Document, spec: ModelSpec | None, name: str, source: Source) -> None:
    if spec is not None and spec.managed_by not in {None, source.name}:
        raise ConfigError(
            f"{document.where('models', name)} is managed by {spec.managed_by}; change it there, or stop watching it "
            f"there and release it with: propagul fleet edit {name} --unset managed_by"
        )
