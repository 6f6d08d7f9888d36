"""Batons: the right to go on under an origin after a clean close, handed to whoever opens the log next.

An origin may be continued only if nothing was minted under it that the log does not hold. A clean close proves that for
its own end: after the last batch is logged it leaves a baton that names the origins and their last stamps. The proof is
spoilt by a reboot (a tail may be lost), a restored backup, a copied directory and a second taker; so a baton lies in
memory that dies with the kernel, names the boot and the log, and is taken before it is believed. The taker compares the
stamps with its log; where anything differs it mints under fresh origins, which is always right and costs 16 bytes.

Invariant: the right to mint under an origin is held by one process or by one baton, never by both and never by two.
Leave one last and take one first, both under the log's lock. Nothing here ever raises for what it finds. Linux only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from propagul import _system

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = logging.getLogger(__name__)

_LOG_ID = re.compile(r"[0-9a-f]{16}")
_U64 = range(1 << 64)
_DIGEST_BYTES = 16

BATONS_MAX = 1024
"""How many may lie there, 4 KiB of memory each. The oldest go first: their directories were most likely deleted, and to
lose one is always right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baton:
    """What a clean close said.

    Attributes:
        log_id: The log it closed.
        boot_id: The kernel's run in which it did; this one, for a baton that was taken.
        stamps: By namespace: the origin it wrote under and the last stamp it minted, both 64 bits. *Invariant*: to be
            continued only if the log's last own stamp is the same.
    """

    log_id: str
    boot_id: str
    stamps: Mapping[str, tuple[int, int]]


def leave(log_id: str, stamps: Mapping[str, tuple[int, int]]) -> bool:
    """Leave a baton, after the last batch was logged; whether one was left.

    If there is one already, somebody broke the rules: neither is believed, and both go.

    Args:
        log_id: The log that is being closed.
        stamps: By namespace: origin and last stamp.
    """
    where, boot = _system.kernel_lifetime_directory(), _system.boot_id()
    if where is None or boot is None or not _LOG_ID.fullmatch(log_id):
        return False
    path = where / log_id
    try:
        for leftover in where.glob(f".{log_id}.*"):  # of a process killed while it left or took one
            leftover.unlink()
        _make_room(where)
        _system.create_private(path, _encode(Baton(log_id=log_id, boot_id=boot, stamps=stamps)))
    except FileExistsError:
        _log.error("two batons for one log, both dropped: %s", log_id)
        with contextlib.suppress(OSError):
            path.unlink()
        return False
    except OSError as error:
        _log.warning("no baton left: %s (%s)", log_id, error.strerror)
        return False
    return True


def take(log_id: str) -> Baton | None:
    """Take a log's baton, if there is a sound one of this boot. Of any number of takers at most one gets it."""
    where, boot = _system.kernel_lifetime_directory(), _system.boot_id()
    if where is None or boot is None or not _LOG_ID.fullmatch(log_id):
        return None
    taken = where / f".{log_id}.{secrets.token_hex(8)}"
    try:
        _system.move(where / log_id, taken)
        content = _system.read_private(taken)
        taken.unlink()
    except OSError:
        return None
    baton = _decode(content)
    return baton if baton is not None and (baton.log_id, baton.boot_id) == (log_id, boot) else None


def _make_room(where: Path) -> None:
    """Drop the oldest batons where there are too many; others may be doing the same."""
    if len(paths := list(where.iterdir())) < BATONS_MAX:
        return
    ages: list[tuple[float, Path]] = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            ages.append((path.lstat().st_mtime, path))
    for _, path in sorted(ages)[: len(ages) - BATONS_MAX + 1]:
        path.unlink(missing_ok=True)


def _encode(baton: Baton) -> bytes:
    fields = {"log": baton.log_id, "boot": baton.boot_id, "stamps": {name: [*at] for name, at in baton.stamps.items()}}
    content = json.dumps(fields).encode()
    return _digest(content) + content


def _decode(content: bytes) -> Baton | None:
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if digest != _digest(content):
        return None
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match fields:
        case {"log": str(log_id), "boot": str(boot_id), "stamps": dict(found)}:
            stamps = {name: (at[0], at[1]) for name, at in found.items() if _is_stamped(at)}
            return Baton(log_id=log_id, boot_id=boot_id, stamps=stamps) if len(stamps) == len(found) else None
    return None


def _is_stamped(at: object) -> bool:
    """Whether something is a list of an origin and a stamp."""
    return isinstance(at, list) and len(at) == 2 and all(type(number) is int and number in _U64 for number in at)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, person=b"propagul-baton").digest()
