"""Processes for programs that a test ends by force, each forked from one that has imported all that they need.

That one is forked itself, from a test run that has imported CrewAI and has no thread and no store yet. It opens nothing
and starts no thread, so its children begin as a fresh process that has imported everything.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, NoReturn

from tests.agents.crewai import lives

if TYPE_CHECKING:
    from collections.abc import Callable


class Nursery:
    """Forks a process for each life that is asked for, and lets each go its way."""

    def __init__(self) -> None:
        self._asked, ask = os.pipe()
        told, self._tell = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(ask)
            _end_with(self._serve)
        self._pid = pid
        self._ask, self._told = os.fdopen(ask, "w"), os.fdopen(told)
        os.close(self._asked)
        os.close(self._tell)

    def bear(self, life: str, **arguments: object) -> int:
        """Begin a life of a program, which is a function of `lives.py`, in a process of its own; return its id."""
        self._ask.write(json.dumps([life, arguments]) + "\n")
        self._ask.flush()
        return int(self._told.readline())

    def close(self) -> None:
        """End it; the lives that it began go on."""
        self._ask.close()
        os.waitpid(self._pid, 0)
        self._told.close()

    def _serve(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
        warnings.simplefilter("ignore")  # CrewAI warns of itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # CrewAI talks
        with os.fdopen(self._asked) as asked:
            for line in asked:
                life, arguments = json.loads(line)
                if (child := os.fork()) == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _end_with(functools.partial(getattr(lives, life), **arguments))
                os.write(self._tell, f"{child}\n".encode())


def _end_with(work: Callable[[], object]) -> NoReturn:
    """Do this and be gone: nothing of the test run whose copy this process is may go on here."""
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 # supervisor: said, and the status is 1
        traceback.print_exc()
    finally:
        os._exit(status)
