"""Fetch or check the browser libraries that the dashboard ships, file by file.

`fleet_app/dashboard/static/vendor/VENDOR.toml` is the list: package, version, licence, the file inside the package, the
file here, its SHA-256. Files are stored exactly as the package ships them; nothing is built or minified here, so
anyone can compare. The rule: a file that is not in the list, or differs from its hash, is an error.

    scripts/vendor.py --check    re-hash what is here; needs no network
    scripts/vendor.py            fetch the listed versions with npm and write them, refusing a changed hash
    scripts/vendor.py --accept   the same after a version in the list was edited: record the new hashes
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "fleet_app" / "dashboard" / "static" / "vendor"
MANIFEST = "VENDOR.toml"

HEADING = """\
# Browser libraries as their packages ship them. `scripts/vendor.py --check` compares the files with these hashes;
# `scripts/vendor.py` fetches them again. To upgrade: edit a version, run `scripts/vendor.py --accept`, read the diff.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendoredFile:
    """One entry of the list. `member` is its path in the package, `file` its path here; `licence` is an SPDX id."""

    name: str
    version: str
    licence: str
    member: str
    file: str
    sha256: str

    def to_toml(self) -> str:
        """The entry as TOML; every value is a plain ASCII string."""
        fields = (f'{field} = "{getattr(self, field)}"' for field in self.__slots__)
        return "[[file]]\n" + "\n".join(fields) + "\n"


def read_manifest(vendor: Path) -> list[VendoredFile]:
    """Return the entries of the list.

    Raises:
        TypeError: An entry lacks a field or has an unknown one.
    """
    return [VendoredFile(**entry) for entry in tomllib.loads((vendor / MANIFEST).read_text("utf-8"))["file"]]


def write_manifest(vendor: Path, entries: list[VendoredFile]) -> None:
    """Write the list anew, in the order given."""
    (vendor / MANIFEST).write_text("\n".join([HEADING, *(entry.to_toml() for entry in entries)]), "utf-8")


def sha256(content: bytes) -> str:
    """The SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()


def differences(vendor: Path) -> list[str]:
    """Say in sentences what does not match the list; empty when all is well."""
    entries = read_manifest(vendor)
    found = {path.relative_to(vendor).as_posix() for path in vendor.rglob("*") if path.is_file()} - {MANIFEST}
    listed = {entry.file for entry in entries}
    said = [f"{name} is not in {MANIFEST}" for name in sorted(found - listed)]
    said += [f"{name} is missing" for name in sorted(listed - found)]
    return said + [
        f"{entry.file} differs from the hash in {MANIFEST}"
        for entry in entries
        if entry.file in found and sha256((vendor / entry.file).read_bytes()) != entry.sha256
    ]


def fetch_members(name: str, version: str, members: list[str]) -> dict[str, bytes]:
    """Return files of one published package; npm checks the archive against the registry's own hash.

    Raises:
        subprocess.CalledProcessError: npm found no such package or version, or is offline.
        KeyError: The package has no such file.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, f"{name}@{version}"]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            return {member: _read(package, f"package/{member}") for member in members}


def _read(package: tarfile.TarFile, member: str) -> bytes:
    """Read one regular file out of the archive; nothing is unpacked to the disk."""
    stream = package.extractfile(member)
    if stream is None:
        raise KeyError(member)
    return stream.read()


def fetch(vendor: Path, *, accept: bool) -> list[str]:
    """Fetch everything in the list and write it; with `accept`, record the new hashes instead of refusing them.

    Returns the sentences of what was refused; those files are not written.
    """
    refused: list[str] = []
    updated: list[VendoredFile] = []
    for (name, version), group in groupby(read_manifest(vendor), key=lambda entry: (entry.name, entry.version)):
        entries = list(group)
        contents = fetch_members(name, version, [entry.member for entry in entries])
        for entry in entries:
            fresh = replace(entry, sha256=sha256(contents[entry.member]))
            if fresh != entry and not accept:
                refused.append(f"{name} {version} {entry.member}: the fetched file has hash {fresh.sha256}")
                continue
            (vendor / entry.file).parent.mkdir(parents=True, exist_ok=True)
            (vendor / entry.file).write_bytes(contents[entry.member])
            updated.append(fresh)
    if not refused:
        write_manifest(vendor, updated)
    return refused


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description="Fetch or check the dashboard's browser libraries.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare the files here with the list, offline")
    mode.add_argument("--accept", action="store_true", help="fetch, and record hashes that changed with a version")
    parser.add_argument("--vendor", type=Path, default=VENDOR, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    said = [] if flags.check else fetch(flags.vendor, accept=flags.accept)
    said += differences(flags.vendor)
    for sentence in said:
        print(f"vendor: {sentence}", file=sys.stderr)
    if not said:
        print(f"vendor: {len(read_manifest(flags.vendor))} files match {MANIFEST}")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
