"""Restoring: everything is checked before anything is written, and what was written appears in one step or not at all.

A whole backup becomes the node that it was. The library never goes on under an origin without a proof that a copy does
not have, so a restored replica writes under a fresh one. A backup without secrets becomes the first node of a new
fleet; joining another one later moves it aside, so that what it declares never flows into a fleet by accident.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import tarfile
from typing import TYPE_CHECKING

from fleet_app.admin import running_node
from fleet_app.backup.manifest import DECLARED, MANIFEST, MANIFEST_BYTES_MAX, Manifest, read_manifest
from fleet_app.backup.writing import DECLARED_PREFIXES
from fleet_app.config import load
from fleet_app.errors import ConfigError, FleetError
from fleet_app.home import ROOM
from fleet_app.membership import obtain
from propagul import AgentStateStore, _system
from propagul.store._readable import from_json, loads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

_CHUNK_BYTES = 1024 * 1024
_BATCH_ROWS = 500


def restore(file: Path, data_dir: Path) -> Manifest:
    """Make a node out of a backup, in a directory that is empty or not there.

    Raises:
        ConfigError: The directory is in use.
        FleetError: The file is no backup, damaged, or of a newer format.
        OSError: The system refused; nothing is left of the attempt.
    """
    _check_place(data_dir)
    try:
        with tarfile.open(file, "r:") as tar:
            members = {member.name: member for member in tar.getmembers()}
            manifest = _manifest(tar, members, file)
            for name in manifest.files:
                for _ in _checked(tar, members, manifest, name, file):
                    pass
            with _in_one_step(data_dir) as draft:
                for name in manifest.files:
                    _make_folders(draft, name)
                    _write(draft / name, _checked(tar, members, manifest, name, file))
                if manifest.kind == "declared":
                    _found(draft, manifest)
    except tarfile.TarError:
        raise FleetError(f"{file} is no backup of a node, or is cut off") from None
    return manifest


def _check_place(data_dir: Path) -> None:
    node = running_node(data_dir) if data_dir.is_dir() else None
    if node is not None:
        raise ConfigError(f"the node {node.name!r} runs on {data_dir} (process {node.pid}); restore into another place")
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise ConfigError(f"{data_dir} is not empty; restore into another --data-dir, or move it away first")


def _manifest(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], file: Path) -> Manifest:
    if MANIFEST not in members:
        raise FleetError(f"{file} is no backup of a node, or is cut off: it has no {MANIFEST}")
    manifest = read_manifest(_stream(tar, members, MANIFEST, file).read(MANIFEST_BYTES_MAX), str(file))
    if extra := set(members) - {*manifest.files, MANIFEST}:
        raise FleetError(f"{file} is damaged: its manifest does not name {min(extra)[:64]!r}")
    if len(tar.getmembers()) != len(members):
        raise FleetError(f"{file} is damaged: it holds a file twice")
    return manifest


def _stream(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str, file: Path) -> IO[bytes]:
    member = members.get(name)
    stream = tar.extractfile(member) if member is not None and member.isreg() else None
    if stream is None:
        raise FleetError(f"{file} is damaged: {name} is missing")
    return stream


def _checked(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], manifest: Manifest, name: str, file: Path
) -> Iterator[bytes]:
    """Yield a file; at its end it is what the manifest says.

    Raises:
        FleetError: It is not.
    """
    entry, seen = manifest.files[name], hashlib.sha256()
    stream, size = _stream(tar, members, name, file), 0
    while size <= entry.size and (chunk := stream.read(_CHUNK_BYTES)):
        size += len(chunk)
        seen.update(chunk)
        yield chunk
    if (size, seen.hexdigest()) != (entry.size, entry.sha256):
        raise FleetError(f"{file} is damaged: {name} is not what its manifest says; nothing was restored")


@contextlib.contextmanager
def _in_one_step(data_dir: Path) -> Iterator[Path]:
    """Give a private directory beside the wanted one, and move it there at the end."""
    data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = data_dir.with_name(f".{data_dir.name}.restoring-{secrets.token_hex(4)}")
    draft.mkdir(mode=0o700)
    try:
        yield draft
        for folder, _, _ in os.walk(draft):
            _system.sync_directory(draft / folder)
        if data_dir.exists():
            data_dir.rmdir()
        _system.move(draft, data_dir)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _system.sync_directory(data_dir.parent)


def _make_folders(draft: Path, name: str) -> None:
    """Every one of them private: `parents=True` would make all but the last as the umask says."""
    for folder in reversed((draft / name).relative_to(draft).parents):
        (draft / folder).mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with os.fdopen(_system.open_new(path), "wb") as opened:
        for chunk in chunks:
            opened.write(chunk)
        opened.flush()
        _system.sync_contents(opened.fileno())


def _found(draft: Path, manifest: Manifest) -> None:
    """Found a fleet of one that holds what was declared."""
    settings = load({"data_dir": str(draft), "name": manifest.name}, environ={})
    membership = asyncio.run(obtain(settings))
    store = AgentStateStore(
        ROOM,
        manifest.name,
        None,
        path=draft / "state",
        credentials=membership.credentials,
        alone=True,
        owned=("nodes/",),
    )
    with contextlib.closing(store), (draft / DECLARED).open("rb") as lines:
        while batch := [line for _, line in zip(range(_BATCH_ROWS), lines, strict=False)]:
            with store.transaction():
                for line in batch:
                    _declare(store, line)
    (draft / DECLARED).unlink()


def _declare(store: AgentStateStore, line: bytes) -> None:
    """Write what a line of the backup declares.

    Raises:
        FleetError: It declares nothing.
    """
    try:
        store.set(*_row(line))
    except (ValueError, TypeError, RecursionError):
        raise FleetError("the backup is damaged: a line of it is no declaration") from None


def _row(line: bytes) -> tuple[str, object]:
    match loads(line.decode()):
        case [str(key), form] if key.startswith(DECLARED_PREFIXES):
            return key, from_json(form)
    raise ValueError
