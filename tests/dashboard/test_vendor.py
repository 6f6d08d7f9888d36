"""The vendored libraries are what their list says, and a changed, missing or unlisted file is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "fleet_app" / "dashboard" / "static" / "vendor"


def check(vendor: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "vendor.py"), "--check", "--vendor", str(vendor)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_shipped_libraries_match_their_list() -> None:
    done = check(VENDOR)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_a_missing_and_an_unlisted_file_are_each_named(tmp_path: Path) -> None:
    vendor = Path(shutil.copytree(VENDOR, tmp_path / "vendor"))
    (vendor / "htm" / "htm.mjs").write_bytes((vendor / "htm" / "htm.mjs").read_bytes() + b" ")
    (vendor / "preact" / "hooks.mjs").unlink()
    (vendor / "extra.js").write_text("1")
    done = check(vendor)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "vendor: extra.js is not in VENDOR.toml",
        "vendor: preact/hooks.mjs is missing",
        "vendor: htm/htm.mjs differs from the hash in VENDOR.toml",
    ]


def test_every_library_has_its_licence_beside_it() -> None:
    folders = {path.parent for path in VENDOR.rglob("*.mjs")}
    assert folders
    assert [folder.name for folder in folders if not (folder / "LICENSE").read_text("utf-8").strip()] == []
