"""How a command speaks to the node that runs on this machine.

A small HTTP API under `/admin/` on the front port, the two private files that lead to it (`files`), a blocking client
(`client`) and what they say (`messages`). Whoever can read `admin.token` in the data directory is the node's owner.
Nothing here logs a token. The API stands apart in `fleet_app.admin.api`: a command need not load an HTTP server.
"""

from fleet_app.admin.client import AdminClient
from fleet_app.admin.files import (
    NodeFile,
    create_admin_token,
    read_node_file,
    remove_node_file,
    running_node,
    write_node_file,
)
from fleet_app.admin.messages import (
    EXPIRES_S_MAX,
    USES_MAX,
    ChangeOrder,
    EditOrder,
    InviteOrder,
    InviteReply,
    RotationReply,
)

__all__ = [
    "EXPIRES_S_MAX",
    "USES_MAX",
    "AdminClient",
    "ChangeOrder",
    "EditOrder",
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
