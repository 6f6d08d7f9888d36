"""A file of what should be there, declared when the node starts, and with `--watch` whenever it changes.

    propagul fleet up --desired fleet.yaml --watch

Watching is for files under version control: what the file says is declared, and models that it no longer names are
dropped. Its rows carry its name, so that they are changed in the file and nowhere else, and a second file that wants
one of them is refused. A file that cannot be read, or is wrong, changes nothing and is said in a notice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from fleet_app.desired import By, Desired, Source, commit, edits_of, parse
from fleet_app.errors import ConfigError
from propagul.errors import PropagulError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fleet_app.desired import NodeFacts
    from propagul import AgentStateStore

_log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
AGAIN_S: Final = 60.0
"""An unchanged file is declared again this seldom: somebody may have changed its rows elsewhere."""


class DesiredFile:
    """Keeps the replica in step with one file.

    Args:
        store: The replica.
        path: The file.
        box: What this box is called.
        nodes: The fleet, as placement looks at it.
        watched: Whether the file is looked at again and again.

    Attributes:
        trouble: Why it is not, in words; empty when it is.
    """

    def __init__(
        self,
        store: AgentStateStore,
        path: Path,
        box: str,
        nodes: Callable[[Desired], Sequence[NodeFacts]],
        *,
        watched: bool,
    ) -> None:
        self.trouble = ""
        self._store, self._path, self._nodes = store, path, nodes
        self._source = Source(f"{path.name}@{box}", watched=watched)
        self._seen: tuple[int, int, int] | None = None
        self._declared_at = float("-inf")

    async def run(self) -> None:
        """Declare it; if it is watched, look again and again until cancelled."""
        await asyncio.to_thread(self.look)
        while self._source.watched:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Declare the file if it changed since the last look, or if that was long ago."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen and time.monotonic() < self._declared_at + AGAIN_S:
                return
            self._declare(self._path.read_bytes())
            self._seen, self._declared_at = seen, time.monotonic()
        except OSError as problem:
            self._said(f"{self._path}: cannot be read: {problem.strerror}")
        except (ConfigError, PropagulError) as problem:
            self._seen, self._declared_at = seen, time.monotonic()
            self._said(str(problem))
        else:
            self._said("")

    def _declare(self, content: bytes) -> None:
        desired = Desired.read(self._store)
        document = parse(content, str(self._path))
        edits = edits_of(document, desired, self._nodes(desired), self._source, prune=self._source.watched)
        by = By(self._source.name[:128], time.time(), "file")
        if commit(self._store, edits, by, note=f"{self._path.name} changed") is not None:
            _log.info("desired.file path=%s declared", self._path)

    def _said(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            _log.warning("desired.file %s", trouble)
        self.trouble = trouble
