"""The fleet's rows in the hands of a command or a program: through the node that runs here, or else the store itself.

Both give the same rows and take the same changes, so that nobody above cares which it was. A change made while no node
runs lies in this box's log and reaches the others when its node next does.
"""

from __future__ import annotations

import getpass
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fleet_app.admin import AdminClient, ChangeOrder, EditOrder, running_node
from fleet_app.desired import NOTHING, By, Edit, Place
from fleet_app.desired.edits import Nothing, commit
from fleet_app.errors import FleetError
from fleet_app.home import ROOM
from fleet_app.membership import held
from fleet_app.view import FleetView, NodeView
from propagul import AgentStateStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from fleet_app.config import Settings

DESIRED, CHANGES, NODES = "desired/", "changes/", "nodes/"


class Snapshot:
    """Rows of one instant, to be read like a store. See `fleet_app.desired.Rows`."""

    def __init__(self, rows: Mapping[str, Sequence[object]]) -> None:
        self._rows = {key: list(values) for key, values in sorted(rows.items()) if values}

    def keys(self, prefix: str) -> list[str]:
        """Keys under a prefix, sorted."""
        return [key for key in self._rows if key.startswith(prefix)]

    def items(self, prefix: str) -> Iterator[tuple[str, object]]:
        """Keys with the value that holds."""
        return ((key, self._rows[key][0]) for key in self.keys(prefix))

    def siblings(self, key: str) -> list[object]:
        """Every value, the one that holds first."""
        return self._rows.get(key, [])

    def set(self, key: str, value: object) -> None:
        """Not here: changes go through the ledger."""
        raise NotImplementedError(key, value)

    def delete(self, key: str) -> bool:
        """Not here, either."""
        raise NotImplementedError(key)

    def transaction(self) -> AbstractContextManager[object]:
        """Not here, either."""
        raise NotImplementedError


class Author(NamedTuple):
    """Who changes something, and from what."""

    name: str
    via: str


class Ledger(Protocol):
    """Rows and changes of one fleet."""

    @property
    def is_live(self) -> bool:
        """Whether a node runs here: what is written now reaches the others now."""

    def view(self) -> FleetView:
        """The fleet as this box sees it; everybody is away while no node runs."""

    def snapshot(self) -> Snapshot:
        """What is declared, the changes, and the durable rows of nodes."""

    def change(self, edits: Iterable[Edit], author: Author, *, note: str = "", undoes: str = "") -> str | None:
        """Make edits as one change; its id, None where nothing would change.

        Raises:
            FleetError: It could not be written.
        """


class _Live:
    """Through the running node."""

    is_live = True

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def view(self) -> FleetView:
        try:
            return FleetView.of_json(self._client.status())
        except (ValueError, KeyError, TypeError):
            raise FleetError("the node's answer has another shape than this version reads") from None

    def snapshot(self) -> Snapshot:
        return Snapshot(
            {key: row for prefix in (DESIRED, CHANGES, NODES) for key, row in self._client.rows(prefix).items()}
        )

    def change(self, edits: Iterable[Edit], author: Author, *, note: str = "", undoes: str = "") -> str | None:
        orders = [
            EditOrder(**place._asdict(), value=[] if isinstance(value, Nothing) else [value]) for place, value in edits
        ]
        return self._client.change(
            ChangeOrder(edits=orders, author=author.name, via=author.via, note=note, undoes=undoes)
        )


class _Stored:
    """The store of a box whose node does not run."""

    is_live = False

    def __init__(self, store: AgentStateStore) -> None:
        self._store = store

    def view(self) -> FleetView:
        names = {
            key.removeprefix(NODES): row.get("name", "")
            for key, row in self._store.items(NODES)
            if isinstance(row, dict) and "/" not in key.removeprefix(NODES)
        }
        nodes = (
            NodeView(id=node, name=str(name) or node[:8], state="down", reach="none", heard_s=None, presence=None)
            for node, name in sorted(names.items())
        )
        return FleetView(nodes=tuple(nodes), notices=("no node runs here: what follows is what this box last knew",))

    def snapshot(self) -> Snapshot:
        return Snapshot(rows_of(self._store, DESIRED, CHANGES, NODES))

    def change(self, edits: Iterable[Edit], author: Author, *, note: str = "", undoes: str = "") -> str | None:
        change = commit(self._store, edits, By(author.name, time.time(), author.via), note=note, undoes=undoes)
        return None if change is None else change.id


def rows_of(store: AgentStateStore, *prefixes: str) -> dict[str, list[object]]:
    """Rows of a store under prefixes, each with all its values."""
    return {key: store.siblings(key) for prefix in prefixes for key in store.keys(prefix)}


def edits_in(order: ChangeOrder) -> list[Edit]:
    """The edits of an order."""
    return [
        Edit(Place(edit.table, edit.name, edit.field, edit.key), edit.value[0] if edit.value else NOTHING)
        for edit in order.edits
    ]


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of the fleet that this box is in.

    Raises:
        FleetError: It is in none, or its store cannot be opened.
    """
    if running_node(settings.data_dir) is not None:
        yield _Live(AdminClient.from_data_dir(settings.data_dir))
        return
    credentials = held(settings) if (settings.data_dir / "identity.key").exists() else None
    if credentials is None:
        raise FleetError(f"this box is in no fleet ({settings.data_dir}); begin with: propagul fleet up")
    store = AgentStateStore(
        ROOM, port=None, path=settings.data_dir / "state", credentials=credentials, alone=True, owned=(NODES,)
    )
    try:
        yield _Stored(store)
    finally:
        store.close()


def author_here(box: str, via: str) -> Author:
    """Whoever runs this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = "somebody"
    return Author(f"{user}@{box}"[:128], via)
