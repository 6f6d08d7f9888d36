"""A box behind a real packet filter: it can dial the others, and what is dialled to it is dropped without a word."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engines import ROOT
from tests.fleet.boxes import node, wait_for
from tests.fleet.walled_box import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = f"propagul-{os.getpid()}-wall"
OUTSIDE, INSIDE = "10.203.77.1", "10.203.77.2"
WALL = """
table inet wall {
  chain in {
    type filter hook input priority 0; policy accept;
    iifname "inside" tcp flags & (syn | ack) == syn drop
  }
}
"""


def system(*words: str, stdin: str | None = None) -> None:
    subprocess.run(words, input=stdin, text=True, check=True, capture_output=True, timeout=20)


@pytest.fixture
def wall() -> Iterator[list[str]]:
    """What to put before a command that is to run behind the wall."""
    if sys.platform != "linux" or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")):
        pytest.skip("needs Linux, root, ip and nft")
    within, outside = ["ip", "netns", "exec", NAME], f"wall{os.getpid() % 10**8}"
    try:
        system("ip", "netns", "add", NAME)
    except subprocess.CalledProcessError:
        pytest.skip("no network namespaces here")
    try:
        system("ip", "link", "add", outside, "type", "veth", "peer", "name", "inside", "netns", NAME)
        system("ip", "addr", "add", f"{OUTSIDE}/30", "dev", outside)
        system("ip", "link", "set", outside, "up")
        for words in (f"addr add {INSIDE}/30 dev inside", "link set inside up", "link set lo up"):
            system(*within, "ip", *words.split())
        system(*within, "nft", "-f", "-", stdin=WALL)
        yield within
    finally:
        system("ip", "netns", "del", NAME)
        with contextlib.suppress(subprocess.CalledProcessError):  # it went with its other end
            system("ip", "link", "del", outside)


@pytest.mark.engine
def test_a_box_behind_a_silent_firewall_serves_its_model_to_the_others(tmp_path: Path, wall: list[str]) -> None:
    command = [*wall, sys.executable, "-m", "tests.fleet.walled_box", str(tmp_path / "b"), INSIDE]
    with (
        node("a", tmp_path / "a", listen=f"{OUTSIDE}:0") as a,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as behind,
    ):
        assert behind.stdin is not None
        assert behind.stdout is not None
        try:
            print(a.token, file=behind.stdin, flush=True)
            assert behind.stdout.readline() == "up\n"
            wait_for(lambda: a.models() == {"bravo": ["b"]}, 20)
            host, _, port = a.node("b")["addresses"][0].rpartition(":")
            with pytest.raises(TimeoutError):
                socket.create_connection((host, int(port)), timeout=0.5)
            for _ in range(2):
                status, headers, body = a.chat("bravo")
                assert (status, headers["x-propagul-node"]) == (200, "b")
                assert json.loads(body)["choices"][0]["message"]["content"].strip() == WORDS
        finally:
            behind.stdin.close()
            behind.wait(30)
