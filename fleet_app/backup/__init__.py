"""A node in one file, and a node out of one.

    propagul-backup.tar
      identity.key, room-secret, ...     who the node is and which fleet it belongs to
      state/                             its replica, as it was at one moment
      manifest.json                      what this is, of whom, when, and the hash of everything before it

Without secrets it holds `declared.jsonl` in place of all that: what was declared and the changes that led there, for a
new fleet. `replica` reads the log beside a running node, `manifest` says what may stand in a file, `writing` makes one
and `restoring` takes one apart. Nothing here opens the store of a running node.
"""

from fleet_app.backup.manifest import Manifest
from fleet_app.backup.restoring import restore
from fleet_app.backup.writing import back_up

__all__ = ["Manifest", "back_up", "restore"]
