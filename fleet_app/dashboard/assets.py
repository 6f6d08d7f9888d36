"""The files a browser may ask for: a table built once from the package, never a path joined from a request.

Every file is held in memory, plain and compressed; a request looks its name up in a dictionary, so that `..`, encoded
slashes and links have nothing to act on. All names stand under one fingerprint of all contents: a changed file changes
every address, an address always means the same bytes, and modules import each other by relative names.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, by the end of its name. Anything else in the folder stays there (licences, the template, lists)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file. `etag` is quoted and weak, because it stands for both encodings."""

    content_type: str
    plain: bytes
    gzipped: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetTable:
    """Every served file by its name below `static/`, and the fingerprint that stands before all names."""

    files: Mapping[str, Asset]
    fingerprint: str

    @classmethod
    def of(cls, folder: Traversable) -> AssetTable:
        """Read every servable file below `folder`."""
        contents = dict(sorted(_walk(folder, "")))
        whole = hashlib.sha256()
        for name, content in contents.items():
            whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        files = {name: _asset(name, content) for name, content in contents.items()}
        return cls(files=files, fingerprint=whole.hexdigest()[:16])

    def address(self, name: str) -> str:
        """The absolute path of one file.

        Raises:
            KeyError: There is no such file.
        """
        if name not in self.files:
            raise KeyError(name)
        return f"/static/{self.fingerprint}/{name}"

    def named(self, ending: str) -> list[str]:
        """The names with this ending, sorted."""
        return [name for name in self.files if name.endswith(ending)]


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of every servable file; names use forward slashes."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in CONTENT_TYPES:
            yield prefix + entry.name, entry.read_bytes()


def _suffix(name: str) -> str:
    """The ending of a name with its dot, empty when there is none."""
    return name[name.rfind(".") :] if "." in name else ""


def _asset(name: str, content: bytes) -> Asset:
    """Prepare one file for serving; compression is reproducible (no time stamp)."""
    return Asset(
        content_type=CONTENT_TYPES[_suffix(name)],
        plain=content,
        gzipped=gzip.compress(content, mtime=0),
        etag=f'W/"{hashlib.sha256(content).hexdigest()[:32]}"',
    )
