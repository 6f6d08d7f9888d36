"""`python -m tests.backends.replays ollama --port 0 --folder D` runs a replay in a process of its own.

It prints `LISTENING <url>` and serves until SIGTERM or the end of its standard input with `--stop-at-eof`. Its state
lies in the folder, so that another one started there goes on: `state.json`, `calls.ndjson`, `uncovered.ndjson`.
Exit code 1 says that a request was covered by no fixture.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.backends.replays.lmstudio import LmStudioReplay
from tests.backends.replays.ollama import OllamaReplay
from tests.backends.replays.replay import Replay, Weights
from tests.backends.replays.router import RouterReplay
from tests.backends.replays.single import TgiReplay, VllmReplay

KINDS: dict[str, type[Replay]] = {
    replay.kind: replay for replay in (OllamaReplay, LmStudioReplay, RouterReplay, VllmReplay, TgiReplay)
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.backends.replays", description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", action="append", default=[], metavar="NAME[=BYTES]", help="on the disk at first")
    parser.add_argument("--library", action="append", default=[], metavar="NAME[=BYTES]", help="can be pulled")
    parser.add_argument("--disk", type=int, help="bytes at most")
    parser.add_argument("--memory", type=int, help="bytes at most")
    parser.add_argument("--chunk-bytes", type=int, default=100_000)
    parser.add_argument("--pace-s", type=float, default=0.0)
    parser.add_argument("--stop-at-eof", action="store_true")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    replay = KINDS[chosen.kind](
        _weights(chosen.model),
        _weights(chosen.library) or None,
        folder=chosen.folder,
        port=chosen.port,
        disk=chosen.disk,
        memory=chosen.memory,
    )
    replay.chunk_bytes, replay.pace_s = chosen.chunk_bytes, chosen.pace_s
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, lambda *_: over.set())
    if chosen.stop_at_eof:
        threading.Thread(target=_set_at_eof, args=(over,), daemon=True).start()
    replay.start()
    print(f"LISTENING {replay.url}", flush=True)
    over.wait()
    replay.stop()
    for request in replay.uncovered:
        print(f"no fixture covers {request}", file=sys.stderr)
    return 1 if replay.uncovered else 0


def _set_at_eof(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def _weights(words: list[str]) -> dict[str, Weights]:
    named = [word.partition("=") for word in words]
    return {name: Weights(int(size)) if size else Weights() for name, _, size in named}


if __name__ == "__main__":
    sys.exit(main())
