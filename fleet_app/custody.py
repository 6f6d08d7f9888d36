"""The fleet's keys in the hands of one node: shutting a box out, changing the secret, and the files that keep it.

The new secret is written to the data directory before anybody hears of it, with the former one beside it, so that a
crash at any moment leaves a node that can go on. What the room's rows say is written to the files after it counts.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING

from fleet_app.admin import RotationReply
from fleet_app.errors import FleetError
from fleet_app.home import Home
from propagul.errors import IdentityError, PropagulError

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from fleet_app.view import FleetView
    from propagul import AgentStateStore, Rotation
    from propagul.link import Credentials


logger = logging.getLogger(__name__)


class Custody:
    """Keeps a data directory in step with the keys of its store."""

    def __init__(self, data_dir: Path, credentials: Credentials, store: AgentStateStore) -> None:
        self._home, self._credentials, self._store = Home(data_dir), credentials, store

    def rotate(self, overlap_s: int) -> None:
        """Begin to change the secret to a fresh one.

        Raises:
            IdentityError: It is not held here, or is being changed already.
        """
        authority = self._credentials.authority
        if authority is None:
            raise IdentityError("only a box that holds the fleet's secret can change it; this one does not")
        if self._store.rotation is not None:
            raise IdentityError("the secret is being changed already: finish that first")
        former, successor = str(authority.secret), secrets.token_urlsafe(32)
        self._home.write_secrets([successor, former])
        try:
            self._store.rotate_secret(successor, overlap_s=overlap_s)
        except PropagulError:
            if self._credentials.ring.newest == authority.tag:  # nobody has heard of it
                self._home.write_secrets([former])
            raise
        self.keep()

    def finish(self) -> None:
        """End the former secret now.

        Raises:
            IdentityError: None is being changed by this node.
        """
        self._store.finish_rotation()
        self.keep()

    def keep_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write down every change of the keys soon after it."""

        def changed() -> None:
            loop.call_soon_threadsafe(self.keep)

        self._credentials.listen(changed)

    def keep(self) -> None:
        """Write down what counts now. Does nothing where the files say so already.

        What the disk refuses is tried again when this is called the next time; the store's log has it meanwhile.
        """
        try:
            self._keep()
        except (OSError, FleetError) as error:
            logger.warning("fleet.keys_not_kept error=%s", error)

    def _keep(self) -> None:
        ring, authority = self._credentials.ring, self._credentials.authority
        if authority is not None and authority.tag == ring.newest:
            self._home.write_lineage(ring.lineage)
            held = self._home.secrets()
            if len(held) > 1 and len(ring.trusted) == 1:
                self._home.write_secrets(held[:1])
        elif authority is None and ring.newest in ring.trusted:
            self._home.write_grant(ring.certificates[ring.newest], ring.trusted[ring.newest])
            self._home.write_lineage(ring.lineage)
            self._home.drop_secrets()


def rotation_reply(rotation: Rotation | None, view: FleetView) -> RotationReply:
    """A change of the secret with the boxes called by their names."""
    if rotation is None:
        return RotationReply(under_way=False)
    names = {node.id: node.name for node in view.nodes}
    return RotationReply(
        under_way=True,
        ours=rotation.is_ours,
        left_s=max(0, rotation.until_s - int(time.time())),
        followed=tuple(sorted(names.get(node, node) for node in rotation.followed)),
        missing=tuple(sorted(names.get(node, node) for node in rotation.missing)),
    )
