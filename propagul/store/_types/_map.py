"""A nested map whose leaves are rows: replicas that change different leaves never meet.

A path leads to a leaf or to an inner node, which is there because leaves are below it. A removal takes away the leaves
it saw (an observed-remove map with recursive reset, Almeida et al. 2018); a leaf added below meanwhile survives. Two
replicas may make one path both: then the subtree is shown and the leaf is named by `conflicts`, everywhere alike. An
empty dict is a leaf that gives way to what is written below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from propagul.crdt import MAP, Op
from propagul.errors import LimitExceeded, LocalProtocolError, StoreCorrupt
from propagul.store import _paths
from propagul.store._types._leaves import (
    NOTHING,
    Conflict,
    Path,
    checked,
    clash,
    flat,
    inner_nodes,
    leaves_of,
    removals,
    stands_in_the_way,
    tree_of,
)
from propagul.store._types._rows import log, of_kind
from propagul.store._values import freeze_at, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from propagul.crdt import Row, Sibling
    from propagul.crdt.payload import Payload
    from propagul.store._types._rows import Rows
    from propagul.store._values import Limits


class NestedMap:
    """A tree of dicts that all replicas share. See `AgentStateStore.map_of`.

    A path is a str, or a tuple of them; its parts are not empty and hold no NUL, and there are at most 32. Reading
    costs O(leaves at or below the path).
    """

    def __init__(self, rows: Rows, name: str, limits: Limits) -> None:
        self._rows, self._name, self._limits = rows, name, limits
        _paths.prefix(_paths.MAP, name)

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, path: str | Path, default: object = None) -> object:
        """The value of a leaf, or a dict of all that is below an inner node; the caller's own.

        Raises:
            TypeError, ValueError, LimitExceeded: It is no path.
            StoreCorrupt: Somebody wrote a leaf there that this version cannot read.
        """
        parts, hold = checked(path), self._rows.hold()
        leaves = self._under(parts)
        if len(leaves) == 1 and parts in leaves:
            return thaw(self._called(parts), leaves[parts][0].payload)
        return tree_of(self._readable(leaves, hold), len(parts)) if leaves else default

    def to_dict(self) -> dict[str, object]:
        """The whole map, of one instant. Leaves that this version cannot read are left out and logged."""
        hold = self._rows.hold()
        return tree_of(self._readable(self._under(()), hold), 0)

    def items(self, path: str | Path = ()) -> Iterator[tuple[Path, object]]:
        """Leaves at or below a path with their values, of one instant, sorted by path.

        Raises:
            TypeError, ValueError, LimitExceeded: It is no path.
        """
        hold = self._rows.hold()
        return self._readable(self._under(checked(path, whole=True)), hold)

    def conflicts(self, path: str | Path = ()) -> list[Conflict]:
        """Leaves at or below a path with concurrent values, or hidden by a subtree that was written concurrently.

        Write the leaf again to settle the first kind; `delete(path, leaf_only=True)` or a `delete` of what is below
        settles the second.

        Raises:
            TypeError, ValueError, LimitExceeded: It is no path.
        """
        hold = self._rows.hold()
        leaves = self._under(checked(path, whole=True))
        inner = inner_nodes(leaves)
        hidden = {
            place: inner.get(place) if stands_in_the_way(siblings) else None for place, siblings in leaves.items()
        }
        found = [
            Conflict(place, list(self._values(place, siblings)), hidden[place])
            for place, siblings in leaves.items()
            if len(siblings) > 1 or hidden[place]
        ]
        del hold
        return found

    def __getitem__(self, path: str | Path) -> object:
        found = self.get(path, NOTHING)  # no value is a Packed
        if found is NOTHING:
            raise KeyError(path)
        return found

    def __contains__(self, path: object) -> bool:
        try:
            return bool(self._under(checked(cast("Path", path))))
        except (TypeError, ValueError, LimitExceeded):
            return False

    def __iter__(self) -> Iterator[Path]:
        """Paths of the leaves that are shown, sorted."""
        return iter(self._shown())

    def __len__(self) -> int:
        """How many leaves are shown."""
        return len(self._shown())

    def __repr__(self) -> str:
        return f"<map {self._name!r}: {len(self)} leaves>"

    # --- writing -------------------------------------------------------------------------------------------------

    def set(self, path: str | Path, value: object) -> None:
        """Write a leaf.

        Raises:
            TypeError, ValueError: It is no path, or the value cannot be stored. A dict with entries is no leaf:
                `update` writes its leaves.
            LimitExceeded: Path or value is too large.
            LocalProtocolError: The path leads to an inner node, or through a leaf; both are named.
        """
        parts = checked(path)
        if isinstance(value, dict) and value:
            raise TypeError(
                f"{self._called(parts)} is a dict with entries, which is no leaf; update() writes its leaves"
            )
        self._write({parts: freeze_at(self._called(parts), value, self._limits)})

    def __setitem__(self, path: str | Path, value: object) -> None:
        self.set(path, value)

    def update(self, mapping: Mapping[str, object]) -> None:
        """Write every leaf of a nested dict as one transaction, or none. Other leaves stay as they are.

        Raises:
            TypeError, ValueError, LimitExceeded, LocalProtocolError: See `set`.
        """
        leaves = {path: freeze_at(self._called(path), value, self._limits) for path, value in flat((), mapping)}
        if leaves:
            self._write(leaves)

    def delete(self, path: str | Path, *, leaf_only: bool = False) -> bool:
        """Remove a leaf and all that is known here below it, as one transaction; return whether there was anything.

        A leaf that others add or write meanwhile stays.

        Args:
            path: Where.
            leaf_only: Leave what is below: for a leaf that a subtree hides.

        Raises:
            TypeError, ValueError, LimitExceeded: It is no path.
        """
        key = self._key(checked(path))
        return self._rows.update((key,), removals, under=() if leaf_only else (key,))

    def __delitem__(self, path: str | Path) -> None:
        if not self.delete(path):
            raise KeyError(path)

    def clear(self) -> None:
        """Remove every leaf known here, as one transaction."""
        self._rows.update((), removals, under=(self._key(()),))

    # --- inside --------------------------------------------------------------------------------------------------

    def _write(self, leaves: Mapping[Path, Payload]) -> None:
        above = {self._key(path[:size]) for path in leaves for size in range(1, len(path))}
        places = {self._key(path): path for path in leaves}
        leaves_above = [key for key in above if of_kind(self._rows.row(key), MAP)]

        def decide(rows: Mapping[str, Row]) -> list[Op]:
            held = leaves_of(rows.items())
            inner = inner_nodes(held)
            for path in leaves:
                if (other := clash(path, held, inner)) is not None:
                    what = "an inner node above" if other[: len(path)] == path else "below the leaf"
                    told = (
                        f"{self._called(path)} cannot be a leaf: it is {what} {self._called(other)}; delete that first"
                    )
                    raise LocalProtocolError(told)
            return [Op(key, MAP, leaves[path]) for key, path in places.items()]

        self._rows.update(above, decide, under=[*places, *leaves_above])

    def _under(self, path: Path) -> dict[Path, list[Sibling]]:
        return leaves_of(self._rows.under(self._key(path)))

    def _shown(self) -> list[Path]:
        leaves = self._under(())
        inner = inner_nodes(leaves)
        return [path for path in leaves if path not in inner]

    def _readable(self, leaves: Mapping[Path, list[Sibling]], hold: object) -> Iterator[tuple[Path, object]]:
        """Leaves that no subtree hides and this version can read; `hold` keeps what only the disk holds there."""
        inner = inner_nodes(leaves)
        for path, siblings in leaves.items():
            if path not in inner:
                yield from ((path, value) for value in self._values(path, siblings[:1]))
        del hold

    def _values(self, path: Path, siblings: Iterable[Sibling]) -> Iterator[object]:
        for sibling in siblings:
            try:
                yield thaw(self._called(path), sibling.payload)
            except StoreCorrupt:
                log.warning("store.map_leaf_unreadable name=%r path=%r", self._name, path)

    def _key(self, path: Path) -> str:
        return _paths.element_key(_paths.MAP, self._name, *path, limits=self._limits)

    def _called(self, path: Path) -> str:
        return f"map_of({self._name!r})" + "".join(f"[{part!r}]" for part in path)
