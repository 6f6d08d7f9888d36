"""Reading an export back into a store; `_export` has the format.

Importing adds and overwrites and never removes. What is there already is not written again, so an import may be
repeated: after one that was cut short, or to see with `dry_run` what is still to be done. Log entries go where they
stood, under their own positions. The values of a conflict are written beside each other and are a conflict again.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from propagul.crdt import LOG, MAP, REGISTER, Op
from propagul.errors import LimitExceeded, LocalProtocolError
from propagul.store import _paths
from propagul.store._concurrent import Beside
from propagul.store._export import FORMAT, VERSION
from propagul.store._holdings import POSITION, VALUE
from propagul.store._readable import dumps, from_json, loads, to_json
from propagul.store._signed import is_there
from propagul.store._types._leaves import checked, flat
from propagul.store._values import Limits, freeze_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from propagul.store._export import Line
    from propagul.store._map import StateMap
    from propagul.store._paths import Element
    from propagul.store._types._leaves import Path

BATCH_LINES: Final = 1000
"""At most so many lines are imported as one transaction."""

BATCH_CHARACTERS: Final = 4 * 1024 * 1024
"""Or so many characters of them, which are at most 16 MiB in the log."""

WIDEST: Final = Limits(key_bytes=4096, value_bytes=16 * 1024 * 1024)
"""What a store must take to import all that any store can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did, or would do. A value, counter, element, entry or leaf counts as one.

    Attributes:
        written: Those that were not there, or differed.
        unchanged: Those that were there already.
        settled: Leaves of maps that were not taken, because leaves below them hid them.
        owned: Values that only another member may write, and that were left out.
    """

    written: int = 0
    unchanged: int = 0
    settled: int = 0
    owned: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            written=self.written + other.written,
            unchanged=self.unchanged + other.unchanged,
            settled=self.settled + other.settled,
            owned=self.owned + other.owned,
        )


def import_lines(store: StateMap, lines: Iterable[str], *, dry_run: bool = False) -> Imported:
    """Write what an export says, in transactions of at most `BATCH_LINES` lines; return what that was.

    Raises:
        LocalProtocolError: A line is none of an export, cannot be stored, or is missing at the end; it is named by its
            number. The transactions before it stay; after mending, repeat it all.
        LimitExceeded: A key or value is larger than a store can hold, or its structure is.
        StoreFull, StoreError: The log took it not.
    """
    numbered = enumerate(lines, 1)
    _check_header(*next(numbered, (1, "")))
    done = Imported()
    for batch in _batches(_records(numbered)):
        done += _import_batch(store, batch, dry_run=dry_run)
    return done


def _check_header(number: int, text: str) -> None:
    header = _parsed(number, text)
    if header.get("format") != FORMAT:
        raise LocalProtocolError("line 1: this is no export; one begins with its format")
    if header.get("version") != VERSION:
        raise LocalProtocolError(f"line 1: this export has another version than {VERSION}, which is read here")


def _records(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int, Line]]:
    """Lines with their numbers and sizes; checks that the last one says so."""
    last, count = 1, 0
    for number, text in numbered:
        line = _parsed(number, text)
        if "end" in line:
            if line["end"] != count:
                raise LocalProtocolError(f"line {number}: {count} lines stand before the end, and it says otherwise")
            return
        last, count = number, count + 1
        yield number, len(text), line
    raise LocalProtocolError(f"the export is cut off after line {last}; what stands up to there was taken")


def _parsed(number: int, text: str) -> Line:
    try:
        line = loads(text)
    except ValueError as error:
        raise LocalProtocolError(f"line {number}: {error}") from None
    if type(line) is not dict:
        raise LocalProtocolError(f"line {number}: this is no line of an export")
    return line


def _batches(records: Iterable[tuple[int, int, Line]]) -> Iterator[list[tuple[int, Line]]]:
    batch: list[tuple[int, Line]] = []
    size = 0
    try:
        for number, characters, line in records:
            if batch and (len(batch) == BATCH_LINES or size + characters > BATCH_CHARACTERS):
                yield batch
                batch, size = [], 0
            batch.append((number, line))
            size += characters
    except LocalProtocolError:  # what stood before the faulty line is good
        if batch:
            yield batch
        raise
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Target:
    """What lines are written to: a store, and what stands beside its values once they are."""

    store: StateMap
    beside: Beside
    dry_run: bool

    def write(self, write: Callable[[], object]) -> None:
        """Write something, or do not."""
        if not self.dry_run:
            write()

    def put(self, row: tuple[str, int], held: list[object], wanted: list[object], write: Callable[[], object]) -> int:
        """Have a row, of a key and kind, hold exactly the wanted values; return 1 if it did not.

        `write` writes the first of them in place of whatever is there.
        """
        if _same(held, wanted):
            return 0
        if not _same(held, wanted[:1]):
            self.write(write)
        if not self.dry_run:
            self.beside.add(*row, [freeze_at(repr(row[0]), value, WIDEST) for value in wanted[1:]])
        return 1


def _import_batch(store: StateMap, batch: list[tuple[int, Line]], *, dry_run: bool) -> Imported:
    target = _Target(store, Beside(store._rows.space), dry_run)  # noqa: SLF001 - the store's own package
    try:
        with contextlib.nullcontext() if dry_run or len(batch) == 1 else store.transaction():
            done = sum((_import_line(target, *line) for line in batch), Imported())
        target.beside.write()
    except LimitExceeded:  # the lines were short and their rows are not; if it is one value, it is met again
        if len(batch) == 1:
            raise
        half = len(batch) // 2
        return _import_batch(store, batch[:half], dry_run=False) + _import_batch(store, batch[half:], dry_run=False)
    return done


def _import_line(target: _Target, number: int, line: Line) -> Imported:
    key, kind = line.get("key"), line.get("type")
    if type(key) is not str or type(kind) is not str or kind not in _IMPORTS:
        raise LocalProtocolError(f"line {number}: a line has a key, a type this version knows, and a value")
    try:
        return _IMPORTS[kind](target, key, line)
    except LimitExceeded:
        raise
    except LocalProtocolError as error:
        raise LocalProtocolError(f"line {number}: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise LocalProtocolError(f"line {number}, key {key!r}: {why}") from None


def _import_value(target: _Target, key: str, line: Line) -> Imported:
    siblings = _list(line, "siblings") if "siblings" in line else []
    values = [from_json(_part(sibling, "value")) for sibling in siblings] or [from_json(line["value"])]
    store = target.store
    sealed = store._rows.space.sealed  # noqa: SLF001 - as below
    if sealed is not None and sealed.is_others(key):
        return Imported(owned=1)
    row = store._rows.row(key)  # noqa: SLF001 - the store's own package; a stored None differs from nothing
    held = (store.get_conflicts(key) or [store.get(key)]) if is_there(row) else []
    written = target.put((key, REGISTER), held, values, lambda: store.set(key, values[0]))
    return Imported(written=written, unchanged=1 - written)


def _import_counter(target: _Target, name: str, line: Line) -> Imported:
    value, counter = line["value"], target.store.counter(name)
    if type(value) is not int:
        raise ValueError("a counter's value is an int")
    missing = value - counter.value
    if missing:
        target.write(lambda: counter.add(missing))
    return Imported(written=bool(missing), unchanged=not missing)


def _import_set(target: _Target, name: str, line: Line) -> Imported:
    held, wanted = target.store.set_of(name), [cast("Element", from_json(element)) for element in _list(line, "value")]
    missing = [element for element in wanted if element not in held]
    if missing:
        target.write(lambda: held.update(missing))
    return Imported(written=len(missing), unchanged=len(wanted) - len(missing))


def _import_log(target: _Target, name: str, line: Line) -> Imported:
    """Entries go where they stood, under their own positions: so time, origin and order are kept."""
    entries: dict[str, object] = {}
    for entry in _list(line, "value"):
        position = _part(entry, "position")
        if type(position) is not str or not POSITION.fullmatch(position):
            raise ValueError("an entry of a log has a position that is none")
        entries[_paths.element_key(_paths.LOG, name, position, limits=WIDEST)] = from_json(_part(entry, "value"))
    rows = target.store._rows  # noqa: SLF001 - the store's own package; its logs only append
    missing = {key: value for key, value in entries.items() if not rows.row(key).siblings}
    ops = [Op(key, LOG, freeze_at(f"log_of({name!r})", value, WIDEST)) for key, value in missing.items()]
    if ops:
        target.write(lambda: rows.commit(ops))
    return Imported(written=len(ops), unchanged=len(entries) - len(ops))


def _import_map(target: _Target, name: str, line: Line) -> Imported:
    tree = from_json(line["value"])
    if type(tree) is not dict:
        raise ValueError("a map's value is an object")
    held, disputes = target.store.map_of(name), _list(line, "conflicts") if "conflicts" in line else []
    shown = [dispute for dispute in disputes if _part(dispute, "hidden_by") is None]
    wanted = {path: [value] for path, value in flat((), tree)} | dict(map(_dispute, shown))
    known: dict[Path, list[object]] = {path: [value] for path, value in held.items()} if wanted else {}
    known |= {found.path: found.values for found in held.conflicts() if found.hidden_by is None} if wanted else {}
    written = 0
    for path, values in wanted.items():
        row = _paths.element_key(_paths.MAP, name, *path, limits=WIDEST), MAP
        written += target.put(row, known.get(path, []), values, functools.partial(held.set, path, values[0]))
    return Imported(written=written, unchanged=len(wanted) - written, settled=len(disputes) - len(shown))


_IMPORTS: Final[dict[str, Callable[[_Target, str, Line], Imported]]] = {
    VALUE: _import_value,
    "counter": _import_counter,
    "set": _import_set,
    "log": _import_log,
    "map": _import_map,
}


def _dispute(dispute: object) -> tuple[Path, list[object]]:
    """The path of a leaf in conflict, and its values."""
    path, siblings = _part(dispute, "path"), _part(dispute, "siblings")
    if type(path) is not list or type(siblings) is not list or not siblings:
        raise ValueError("a conflict has a path, and siblings")
    return checked(tuple(path)), [from_json(_part(sibling, "value")) for sibling in siblings]


def _same(one: object, other: object) -> bool:
    """Whether two values are one: True, 1 and 1.0 are three, and the order of names counts."""
    return dumps(to_json(one)) == dumps(to_json(other))


def _list(line: Line, name: str) -> list[object]:
    found = line[name]
    if type(found) is not list:
        raise ValueError(f"its {name} is no list")
    return found


def _part(item: object, name: str) -> object:
    if type(item) is not dict:
        raise ValueError("an item of its list is no object")
    return item[name]
