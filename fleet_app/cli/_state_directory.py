"""Finding and opening the state directory that `propagul state` was pointed at.

The room stands in the directory, so nobody repeats it, and so does how much of the past it keeps.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fleet_app.errors import ConfigError
from propagul import AgentStateStore, Limits
from propagul.errors import LocalProtocolError, StoreLocked
from propagul.log.history import Archive
from propagul.store._history import Past
from propagul.store._ownership import reading_in
from propagul.store._spaces import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul.store._retention import Retention

VARIABLE: Final = "PROPAGUL_STATE_PATH"
on_directory = click.option("--path", metavar="DIR", envvar=VARIABLE, help=f"The state directory.  [env: {VARIABLE}]")
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

LABEL: Final = "propagul state"
"""What the store of a command calls itself."""


def find(path: str | None) -> Path:
    """The directory that was named.

    Raises:
        click.UsageError: None was.
        ConfigError: A variable is mistyped, or there is no state directory.
    """
    for variable in os.environ:
        if variable != VARIABLE and difflib.SequenceMatcher(None, variable, VARIABLE).ratio() > 0.85:
            raise ConfigError(f"{variable} is no variable of Propagul; did you mean {VARIABLE}?")
    if not path:
        raise click.UsageError(f"say which directory: --path DIR, or set {VARIABLE}")
    found = Path(path).expanduser().absolute()
    if not (found / "room.json").exists():
        inner = found / "state"
        hint = f"; did you mean {inner}?" if (inner / "room.json").exists() else ""
        raise ConfigError(f"{found} is no state directory: it has no room.json{hint}")
    return found


def room_of(path: Path) -> str:
    """The room that a directory belongs to.

    Raises:
        LocalProtocolError: Its label does not say.
    """
    with contextlib.suppress(ValueError):
        label = json.loads((path / "room.json").read_bytes())
        if isinstance(label, dict) and isinstance(label.get("room"), str):
            return str(label["room"])
    raise LocalProtocolError(f"{path / 'room.json'} is damaged: it must name the room and the format")


@contextlib.contextmanager
def opened(
    path: Path, *, alone: bool = False, limits: Limits | None = None, keep: Retention | None = None
) -> Iterator[AgentStateStore]:
    """A store on the directory, also while other processes have it open; what is written is on the disk at the end.

    Raises:
        StoreLocked: A process keeps others out, or `alone` was asked for and one is there. It says what to do.
        ConfigError: The caller gave a key or value that cannot be stored.
    """
    try:
        store = AgentStateStore(room_of(path), LABEL, None, path=path, alone=alone, limits=limits, retention=keep)
    except StoreLocked as error:
        why = "this command needs it alone" if alone else "it keeps others out, as a fleet node does"
        raise StoreLocked(f"{str(error).partition(';')[0]}: {why}; end that process, then try again") from error
    with contextlib.closing(store):
        yield store


def past_of(path: Path) -> Past:
    """What the fullest log of the directory tells of the past, read beside whoever writes it.

    Raises:
        ConfigError: There is no log.
    """
    logs = [log for log in (path / "log").glob("?" * 16) if log.is_dir()]
    if not logs:
        raise ConfigError(f"{path} has no log yet: nothing was written")
    fullest = max(logs, key=size_of)
    return Past(Archive(fullest, int(fullest.name, 16), lambda: float("inf")), STATE, time.time_ns, reading_in(path))


def compact(path: Path, keep: Retention | None) -> int:
    """Compact the log of a directory that nobody else has open; return how many bytes are kept of its past.

    Args:
        path: The directory.
        keep: How much it keeps from now on; None for as before.

    Raises:
        StoreLocked: Somebody has.
        StoreError: The disk refused.
    """
    with opened(path, alone=True, keep=keep) as store:
        store.compact()
        return store.stats.history_bytes


def size_of(log: Path) -> int:
    """Bytes of what a log needs to be opened."""
    return sum(file.stat().st_blocks * 512 for file in log.iterdir() if file.suffix in (".log", ".snap"))


def log_bytes(path: Path) -> int:
    """Bytes of all logs of a directory, without their history."""
    return sum(size_of(log) for log in (path / "log").iterdir() if log.is_dir())
