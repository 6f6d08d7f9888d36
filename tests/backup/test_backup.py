"""A backup is a moment of a running node; what is restored loses nothing, reuses nothing, and is whole or not there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import stat
import tarfile
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from fleet_app.admin import NodeFile, write_node_file
from fleet_app.backup import back_up, restore
from fleet_app.backup.manifest import MEMBERSHIP
from fleet_app.backup.restoring import _declare
from fleet_app.config import load
from fleet_app.errors import ConfigError, FleetError
from fleet_app.home import ROOM, Home
from fleet_app.membership import obtain
from propagul import AgentStateStore, GossipConfig
from propagul.link import Credentials, Identity
from propagul.link.messages import TWIN
from tests.store.world import address, run, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def membership_of(data_dir: Path) -> Credentials:
    return (await obtain(load({"data_dir": str(data_dir)}, environ={}))).credentials


def opened(data_dir: Path, credentials: Credentials) -> AgentStateStore:
    """What a node keeps in a directory, without the node around it."""
    return AgentStateStore(
        ROOM, "box", 0, "127.0.0.1", path=data_dir / "state", credentials=credentials, alone=True, owned=("nodes/",),
        config=GossipConfig.test(),
    )  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The directory of a node that declared two models and does not run."""
    with contextlib.closing(opened(tmp_path / "box", asyncio.run(membership_of(tmp_path / "box")))) as store:
        store.set("desired/models/a/where", ["all", ["ada", 1.5, "cli"]])
        store.set("changes/1", {"by": "ada", "bytes": b"\x00"})
        store.set("usage/secret", "not for everybody")
    return tmp_path / "box"


def rows_of(data_dir: Path) -> dict[str, object]:
    with contextlib.closing(opened(data_dir, asyncio.run(membership_of(data_dir)))) as store:
        return store.get_all()


def rewritten(
    file: Path, change: Callable[[dict[str, bytes]], object] = lambda _: None, manifest: dict[str, object] | None = None
) -> Path:
    """A copy of a backup in which somebody changed something."""
    with tarfile.open(file) as tar:
        held = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar.getmembers()}
    if manifest is not None:
        held["manifest.json"] = json.dumps(json.loads(held["manifest.json"]) | manifest).encode()
    change(held)
    other = file.with_name("rewritten.tar")
    with tarfile.open(other, "w") as tar:
        for name, content in held.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return other


def test_a_restored_node_is_the_node_that_was_backed_up(box: Path, tmp_path: Path) -> None:
    made = back_up(box, tmp_path / "b.tar", name="attic")
    assert restore(tmp_path / "b.tar", tmp_path / "new" / "box") == made
    assert (made.kind, made.name, made.node) == ("whole", "attic", Identity.load_or_create(box / "identity.key").node)
    restored = tmp_path / "new" / "box"
    for name in ("identity.key", "room-secret", "fleet"):
        assert (restored / name).read_bytes() == (box / name).read_bytes()
    assert rows_of(restored) == rows_of(box)


def test_a_backup_and_what_is_restored_are_private(box: Path, tmp_path: Path) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    restore(tmp_path / "b.tar", tmp_path / "new")
    for path in (tmp_path / "b.tar", tmp_path / "new", *(tmp_path / "new").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_every_file_of_a_membership_is_in_a_backup(box: Path, tmp_path: Path) -> None:
    """All that `Home` moves aside when a box leaves its fleet, and the identity."""
    for name in MEMBERSHIP:
        if not (box / name).exists():
            (box / name).write_text(name)
    made = back_up(box, tmp_path / "b.tar", name="attic")
    aside = Home(box).move_aside()
    assert {path.name for path in aside.iterdir()} - {"state"} | {"identity.key"} == set(MEMBERSHIP)
    assert set(MEMBERSHIP) < set(made.files)


def test_without_secrets_a_backup_holds_what_was_declared_and_becomes_a_new_fleet(box: Path, tmp_path: Path) -> None:
    made = back_up(box, tmp_path / "b.tar", name="attic", secrets=False)
    assert (made.kind, made.node, [*made.files]) == ("declared", "", ["declared.jsonl"])
    content = (tmp_path / "b.tar").read_bytes()
    for secret in ((box / "room-secret").read_bytes().strip(), b"PRIVATE KEY", b"not for everybody"):
        assert secret not in content
    restore(tmp_path / "b.tar", tmp_path / "new")
    assert rows_of(tmp_path / "new") == {key: row for key, row in rows_of(box).items() if not key.startswith("usage/")}
    assert (tmp_path / "new" / "fleet").read_text() != (box / "fleet").read_text()
    assert (tmp_path / "new" / "identity.key").read_bytes() != (box / "identity.key").read_bytes()
    assert not (tmp_path / "new" / "declared.jsonl").exists()


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"[",
        b'["desired/m"]',
        b'["desired/m", {"$float": "x"}]',
        b'["desired/m", 99999999999999999999999]',
        b'["desired/m", ' + b"[" * 600 + b"]" * 600 + b"]",
        b'["nodes/somebody", {"name": "mallory"}]',
    ],
)
def test_a_line_of_a_backup_that_declares_nothing_is_damage(line: bytes) -> None:
    with contextlib.closing(AgentStateStore("fleet", port=None)) as store:
        with pytest.raises(FleetError, match="a line of it is no declaration"):
            _declare(store, line)
        assert store.get_all() == {}


def test_a_backup_of_a_busy_node_is_a_moment_of_it(tmp_path: Path) -> None:
    """Compactions included: all that was acknowledged before is there, no transaction is torn, nothing has holes."""
    box, written = tmp_path / "box", 0
    stop, store = threading.Event(), opened(box, asyncio.run(membership_of(box)))

    def write() -> None:
        nonlocal written
        number = 0
        while not stop.is_set():
            with store.transaction():
                store.set(f"left/{number:06}", "x" * (number % 3000))
                store.set(f"right/{number:06}", number)
            number += 1
            written = number
            if number % 300 == 0:
                store.compact()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            before = written
            while written < before + 200:
                stop.wait(0.002)
            acknowledged = written
            back_up(box, tmp_path / f"{number}.tar", name="attic")
            restore(tmp_path / f"{number}.tar", tmp_path / f"{number}")
            rows = rows_of(tmp_path / f"{number}")
            left = sorted(key.removeprefix("left/") for key in rows if key.startswith("left/"))
            right = sorted(key.removeprefix("right/") for key in rows if key.startswith("right/"))
            assert left == right == [f"{n:06}" for n in range(len(left))]
            assert len(left) >= acknowledged
    finally:
        stop.set()
        writer.join()
        store.close()


class Fleet:
    """A box in a directory, a fellow that goes on, and all that anybody wrote."""

    def __init__(self, box: Path, credentials: Credentials) -> None:
        assert credentials.authority is not None
        standing = Credentials.from_authority(Identity.generate(), credentials.authority)
        self.fellow = AgentStateStore(
            ROOM, "fellow", 0, "127.0.0.1", credentials=standing, owned=("nodes/",), config=GossipConfig.test()
        )
        self.original = opened(box, credentials)
        self.written: dict[str, object] = {}

    def write(self, store: AgentStateStore, prefix: str, **more: object) -> None:
        for key, value in ({f"{prefix}/{number}": number for number in range(20)} | more).items():
            store.set(key, value)
            self.written[key] = value

    async def converge(self, *others: AgentStateStore) -> None:
        """Nothing is lost, and no two writes are one."""
        stores = (self.fellow, *others)
        await until(lambda: all(store.get_all() == self.written for store in stores))
        assert all(store.stats.conflicts == 0 for store in stores)


@pytest.mark.parametrize("later", [True, False], ids=["of an hour ago", "of this moment"])
def test_a_backup_restored_twice_loses_nothing_and_reuses_no_dot(tmp_path: Path, *, later: bool) -> None:
    """Both against the fleet it came from; without `later`, after a clean close that leaves a baton for its log."""

    async def scenario() -> None:
        fleet = Fleet(tmp_path / "box", await membership_of(tmp_path / "box"))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(fleet.fellow)
            await fleet.original.start(peers=[address(fleet.fellow)])
            fleet.write(fleet.original, "before", moving="in the backup")
            if later:
                back_up(tmp_path / "box", tmp_path / "b.tar", name="box")
                fleet.write(fleet.original, "after", moving="after the backup")
            await fleet.converge()
            await fleet.original.stop()
            if not later:
                back_up(tmp_path / "box", tmp_path / "b.tar", name="box")
            restored = []
            for number in range(2):
                restore(tmp_path / "b.tar", tmp_path / f"{number}")
                restored.append(opened(tmp_path / f"{number}", await membership_of(tmp_path / f"{number}")))
                fleet.write(restored[-1], f"offline/{number}")
            for store in restored:
                await store.start(peers=[address(fleet.fellow)])
                stack.push_async_callback(store.stop)
            for number, store in enumerate(restored):
                fleet.write(store, f"restored/{number}")
            await fleet.converge(*restored)
            await until(lambda: all(any(TWIN in trouble for trouble in store.troubles()) for store in restored))

    run(scenario)


def test_a_directory_that_holds_something_is_left_alone(box: Path, tmp_path: Path) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="full is not empty"):
        restore(tmp_path / "b.tar", tmp_path / "full")
    with pytest.raises(ConfigError, match="is not empty"):
        restore(tmp_path / "b.tar", tmp_path / "full" / "mine")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_directory_on_which_a_node_runs_is_named_with_it(box: Path, tmp_path: Path) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    node = NodeFile(
        pid=os.getpid(), id="i", name="cellar", gateway="127.0.0.1:1", listen="127.0.0.1:2", started=time.time()
    )
    write_node_file(box, node)
    with pytest.raises(ConfigError, match=rf"the node 'cellar' runs on .* \(process {os.getpid()}\)"):
        restore(tmp_path / "b.tar", box)


def test_a_newer_format_is_refused_by_its_number(box: Path, tmp_path: Path) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    newer = rewritten(tmp_path / "b.tar", manifest={"version": 2, "files": "otherwise"})
    with pytest.raises(FleetError, match="has format 2, made by a newer version; this one reads format 1"):
        restore(newer, tmp_path / "new")


def _flipped(held: dict[str, bytes]) -> None:
    name = next(name for name in held if name.endswith(".log"))
    held[name] = held[name][:-1] + bytes([held[name][-1] ^ 1])


def _climbing(held: dict[str, bytes]) -> None:
    manifest = json.loads(held["manifest.json"])
    manifest["files"]["../outside"] = manifest["files"]["fleet"]
    held["../outside"], held["manifest.json"] = held["fleet"], json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flipped, r"\.log is not what its manifest says"),
        (_climbing, r"names '\.\./outside', which no backup holds"),
        (lambda held: held.pop("fleet"), "fleet is missing"),
        (lambda held: held.update(more=b"x"), "its manifest does not name 'more'"),
        (lambda held: held.pop("manifest.json"), "no backup of a node, or is cut off"),
        (lambda held: held.update({"manifest.json": b"[" * 100_000}), "no backup of a node"),
        (lambda held: held.update({"manifest.json": b'{"format": "propagul backup"}'}), "has no sound"),
    ],
    ids=["a flipped bit", "a path that climbs", "a missing file", "a further file", "no manifest", "depth", "fields"],
)
def test_a_damaged_backup_is_refused_before_anything_is_written(
    box: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], object], message: str
) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    with pytest.raises(FleetError, match=message):
        restore(rewritten(tmp_path / "b.tar", change), tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "box", "rewritten.tar"}


def test_a_backup_that_is_cut_off_anywhere_is_refused(box: Path, tmp_path: Path) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    content = (tmp_path / "b.tar").read_bytes()
    for length in [*range(0, len(content) - 2 * 5120, 1024), 100]:
        (tmp_path / "cut.tar").write_bytes(content[:length])
        with pytest.raises(FleetError, match=r"no backup|damaged"):
            restore(tmp_path / "cut.tar", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "box", "cut.tar"}


def test_a_link_in_a_backup_is_no_file(box: Path, tmp_path: Path) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")
    with tarfile.open(tmp_path / "b.tar") as tar, tarfile.open(tmp_path / "link.tar", "w") as other:
        for member in tar.getmembers():
            content = tar.extractfile(member)
            if member.name == "fleet":
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/hostname", 0
            other.addfile(member, content)
    with pytest.raises(FleetError, match="fleet is missing"):
        restore(tmp_path / "link.tar", tmp_path / "new")


def test_a_disk_that_refuses_leaves_nothing_behind(box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(box, tmp_path / "b.tar", name="attic")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("propagul._system.sync_contents", refuse)
    with pytest.raises(OSError, match="No space"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    with pytest.raises(OSError, match="No space"):
        back_up(box, tmp_path / "b.tar", name="attic")
    assert {path.name for path in tmp_path.iterdir()} == {"b.tar", "box"}
    monkeypatch.undo()
    restore(tmp_path / "b.tar", tmp_path / "new")


def test_a_directory_without_a_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="holds no node"):
        back_up(tmp_path, tmp_path / "b.tar", name="attic")
