"""A real node is backed up while it runs, refuses to be restored over, and its copy is the same node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fleet.boxes import node, propagul

if TYPE_CHECKING:
    from pathlib import Path


def test_a_running_node_is_backed_up_and_its_restored_copy_is_that_node(tmp_path: Path) -> None:
    file = str(tmp_path / "b.tar")
    with node("attic", tmp_path / "a") as a:
        made = propagul("fleet", "backup", file, "--data-dir", str(a.data_dir))
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith("attic at ")
        assert "keep it as safe as a key" in made.stdout
        over = propagul("fleet", "restore", file, "--data-dir", str(a.data_dir))
        assert over.returncode == 2
        assert "the node 'attic' runs on" in over.stderr
        before = a.node("attic")["id"]
        assert a.stop() == 0
    done = propagul("fleet", "restore", file, "--data-dir", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert "that one must not run any more" in done.stdout
    with node("attic", tmp_path / "new") as restored:
        assert restored.node("attic")["id"] == before
