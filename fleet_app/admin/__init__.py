"""How a command speaks to the node that runs on this machine.

A small HTTP API under `/admin/` on the front port (`api`), the two private files that lead to it (`files`) and a
blocking client (`client`). Whoever can read `admin.token` in the data directory is the node's owner. Nothing here logs
a token.
"""

from fleet_app.admin.api import (
    EXPIRES_S_MAX,
    USES_MAX,
    AdminActions,
    AdminApi,
    InviteOrder,
    InviteReply,
    RotationReply,
)
from fleet_app.admin.client import AdminClient
from fleet_app.admin.files import (
    NodeFile,
    create_admin_token,
    read_node_file,
    remove_node_file,
    running_node,
    write_node_file,
)

__all__ = [
    "EXPIRES_S_MAX",
    "USES_MAX",
    "AdminActions",
    "AdminApi",
    "AdminClient",
    "InviteOrder",
    "InviteReply",
    "NodeFile",
    "RotationReply",
    "create_admin_token",
    "read_node_file",
    "remove_node_file",
    "running_node",
    "write_node_file",
]
