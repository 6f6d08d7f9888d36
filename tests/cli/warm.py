"""`propagul` as processes of their own without Python's start: children of one process that has imported everything.

Each line on stdin asks for one run, as JSON: `words`, `environ`, `cwd`, and files for `stdin`, `stdout` and `stderr`.
The answer is a line with the child's exit status, as `subprocess` has it. What a cold start does is for tests that
start Python themselves.
"""

from __future__ import annotations

import json
import os
import pkgutil
import runpy
import sys
import traceback
from typing import NoReturn

import fleet_app
import fleet_app.cli


def import_all() -> None:
    """Import what commands import when they run."""
    for module in pkgutil.walk_packages(fleet_app.__path__, "fleet_app."):
        if not module.name.endswith("__main__"):
            __import__(module.name)


def run(request: dict[str, object]) -> NoReturn:
    """In the child: become that process."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        flags = os.O_RDONLY if name == "stdin" else os.O_WRONLY | os.O_APPEND
        os.dup2(os.open(str(request[name]), flags), descriptor)
    os.environ.clear()
    os.environ.update(request["environ"])  # type: ignore[call-overload]  # as asked
    os.chdir(str(request["cwd"]))
    sys.argv = ["fleet_app", *request["words"]]  # type: ignore[misc]  # as asked
    code = 0
    try:
        runpy.run_module("fleet_app", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 # as the interpreter would
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Run what is asked for, one after the other, until stdin ends."""
    import_all()
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
