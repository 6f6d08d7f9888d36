"""An agent that is killed in the middle of its work and goes on where it was.

The first life is a process of its own, ended with no warning (`kill -9`). The second one opens the same directory:
`set` had returned, so the step is there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from propagul import AgentStateStore

STEPS = ["research", "outline", "draft", "review"]


def work(directory: str, *, die_after: str) -> None:
    """One life of the agent."""
    store = AgentStateStore(room="agents", port=None, path=directory)
    done = store.get("done", [])
    assert isinstance(done, list)
    print(f"  starts, finds {done}")
    for step in STEPS[len(done) :]:
        done = [*done, step]
        store.set("done", done)  # on return the kernel has it
        print(f"  finished {step}", flush=True)
        if step == die_after:
            sys.stdin.read()  # busy with the next step, until it is killed
    store.close()


def main() -> None:
    """Two lives."""
    with tempfile.TemporaryDirectory() as directory:
        print("first life:")
        command = [sys.executable, __file__, directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            for line in first.stdout:
                print(line, end="")
                if "outline" in line:
                    first.kill()
                    break
        print("  killed")
        print("second life:")
        work(directory, die_after="")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1], die_after="outline")
    else:
        main()
