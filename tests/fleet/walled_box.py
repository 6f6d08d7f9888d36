"""A node with an engine, for a namespace of its own: `python -m tests.fleet.walled_box DIRECTORY ADDRESS < token`.

Says `up` when it is, and ends when its standard input does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.engines import llama_server
from tests.fleet.boxes import node

WORDS = "bravo tells that from behind its wall"

if __name__ == "__main__":
    token = sys.stdin.readline().strip()
    with (
        llama_server("bravo", WORDS) as engine,
        node("b", Path(sys.argv[1]), "--backend", engine.url, join=token, listen=f"{sys.argv[2]}:0"),
    ):
        print("up", flush=True)
        sys.stdin.read()
