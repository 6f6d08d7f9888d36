"""Forks a process for each line that it reads, which names a function of `lives.py` and its arguments.

It opens no store and starts no thread itself, so its children begin as a fresh process that has imported everything.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from tests.agents.crewai import lives


def main() -> None:
    """Read until the end, and print the id of each child."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        life, arguments = json.loads(line)
        if (child := os.fork()) == 0:
            os.close(0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # CrewAI talks
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            getattr(lives, life)(**arguments)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
