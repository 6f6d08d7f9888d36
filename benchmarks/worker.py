"""One measurement in a process of its own: `python benchmarks/worker.py MODULE FUNCTION PARAMETERS`.

Run by any interpreter, ours or a peer's, so that all contenders are treated alike and none finds a heap that another
has used. The parameters are a JSON object of keyword arguments; what the function returns, a flat object of numbers, is
the last line of the output. The package `benchmarks` is made known here without putting the repository on the path:
in a peer's interpreter `import propagul` must find the peer.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import types
from pathlib import Path


def main(module: str, function: str, parameters: str) -> None:
    """Run one workload and print what it measured.

    A workload that returns a true `killed` is killed then and there, as a crash does it: nothing is closed.
    """
    package = types.ModuleType("benchmarks")
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["benchmarks"] = package
    workload = getattr(importlib.import_module(module), function)
    measured = workload(**json.loads(parameters))
    print(json.dumps(measured), flush=True)
    if measured.get("killed"):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


if __name__ == "__main__":
    main(*sys.argv[1:])
