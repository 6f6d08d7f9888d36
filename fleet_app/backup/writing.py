"""Making a backup: every byte is hashed as it is written, and the manifest stands at the end."""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from typing import TYPE_CHECKING

from fleet_app.backup.manifest import DECLARED, MANIFEST, MEMBERSHIP, Entry, Manifest
from fleet_app.backup.replica import Piece, declared_rows, pieces_of
from fleet_app.desired.edits import CHANGES
from fleet_app.desired.rows import DESIRED
from fleet_app.errors import FleetError
from propagul import __version__, _system
from propagul.link import Identity
from propagul.store._readable import dumps, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

DECLARED_PREFIXES = (DESIRED, CHANGES)
"""What stands in a backup without secrets."""

_TRIES = 5


def back_up(data_dir: Path, file: Path, *, name: str, secrets: bool = True) -> Manifest:
    """Write a node into a private file, which takes its name when all of it is on the disk; the node may run.

    Args:
        data_dir: The node's.
        file: Replaced if it is there.
        name: What the node is called.
        secrets: Whether to have in it who the node is, so that it can be that node again.

    Raises:
        FleetError: There is no node, or it cannot be read whole.
        StoreError: Its log is damaged.
        OSError: The system refused.
    """
    state = data_dir / "state"
    if not (state / "room.json").exists():
        raise FleetError(f"{data_dir} holds no node: nothing was ever started there")
    with _system.writing_private(file) as opened:
        return _write(opened, data_dir, name=name, secrets=secrets)


def _write(opened: IO[bytes], data_dir: Path, *, name: str, secrets: bool) -> Manifest:
    with tarfile.open(fileobj=opened, mode="w", format=tarfile.PAX_FORMAT) as tar:
        files: dict[str, Entry] = {}
        with _pieces(data_dir, secrets=secrets) as pieces:
            for piece in pieces:
                _add(tar, piece.name, piece, piece.size)
                files[piece.name] = Entry(size=piece.size, sha256=piece.sha256())
        manifest = Manifest(
            kind="whole" if secrets else "declared",
            fleet=_fleet_of(data_dir),
            node=Identity.load_or_create(data_dir / "identity.key").node if secrets else "",
            name=name,
            made_s=time.time(),
            program=__version__,
            files=files,
        )
        content = manifest.model_dump_json(indent=1).encode()
        _add(tar, MANIFEST, io.BytesIO(content), len(content))
    return manifest


@contextlib.contextmanager
def _pieces(data_dir: Path, *, secrets: bool) -> Iterator[list[Piece]]:
    if not secrets:
        rows = declared_rows(data_dir / "state", DECLARED_PREFIXES)
        yield [_piece(DECLARED, "".join(f"{dumps([key, to_json(value)])}\n" for key, value in rows).encode())]
        return
    for _ in range(_TRIES):
        before = _membership(data_dir)
        with pieces_of(data_dir / "state") as pieces:
            if _membership(data_dir) != before:  # the secret is just being changed
                continue
            yield [_piece(name, content) for name, content in before.items()] + pieces
            return
    raise FleetError(f"the membership in {data_dir} changes all the time; try again in a while")


def _membership(data_dir: Path) -> dict[str, bytes]:
    if not (data_dir / "identity.key").exists():
        raise FleetError(f"{data_dir} holds no identity: no node was ever started there")
    return {name: (data_dir / name).read_bytes() for name in MEMBERSHIP if (data_dir / name).exists()}


def _fleet_of(data_dir: Path) -> str:
    path = data_dir / "fleet"
    return path.read_text("utf-8").strip() if path.exists() else ""


def _piece(name: str, content: bytes) -> Piece:
    return Piece(name, io.BytesIO(content), len(content))


def _add(tar: tarfile.TarFile, name: str, content: Piece | io.BytesIO, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    try:
        tar.addfile(member, content)
    except OSError as error:
        if error.errno is None:  # a file that ended early, in words of tarfile's own
            raise FleetError(f"{name} became shorter while it was read; is something else writing there?") from None
        raise
