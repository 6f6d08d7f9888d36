"""The two files by which a command finds the node of this machine: `node.json` and `admin.token`.

Both are readable by their owner only and are made with O_EXCL, so that a link left in their place is never followed.
The node writes them while it holds the data directory's lock; nobody else writes them. The token is new at every start:
one left behind by a dead node opens nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, Annotated

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_app.errors import FleetError
from propagul._system import write_private

if TYPE_CHECKING:
    from pathlib import Path

TOKEN_FILE, NODE_FILE = "admin.token", "node.json"
_PID_REUSE_SLACK_S = 60.0


class NodeFile(BaseModel):
    """What `node.json` says of the running node.

    Attributes:
        started: When it started, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: Annotated[int, Field(ge=1)]
    id: str
    name: str
    gateway: str
    listen: str
    started: float

    def is_alive(self) -> bool:
        """Whether that process still runs. A process born after `started` only inherited the number."""
        try:
            born = psutil.Process(self.pid).create_time()
        except psutil.AccessDenied:
            return True
        except psutil.Error:
            return False
        return born <= self.started + _PID_REUSE_SLACK_S


def create_admin_token(data_dir: Path) -> str:
    """Write a new token to `admin.token`, readable by this user only, and return it.

    Call it while holding the directory's lock; it replaces what a former run left.
    """
    token = secrets.token_urlsafe(32)
    write_private(data_dir / TOKEN_FILE, token.encode())
    return token


def write_node_file(data_dir: Path, node: NodeFile) -> None:
    """Write `node.json` in one step: a reader finds the old one, the new one or none."""
    write_private(data_dir / NODE_FILE, node.model_dump_json().encode())


def read_node_file(data_dir: Path) -> NodeFile | None:
    """Return what `node.json` says, or None when there is none.

    Raises:
        FleetError: It is there and cannot be read.
    """
    path = data_dir / NODE_FILE
    try:
        return NodeFile.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise FleetError(f"cannot read {path}: {problem.strerror}") from problem
    except ValidationError:
        raise FleetError(f"{path} is damaged; remove it, or restart the node, which writes it anew") from None


def running_node(data_dir: Path) -> NodeFile | None:
    """Return the node that runs on `data_dir`, or None: no node file, or one whose process is gone.

    Raises:
        FleetError: The node file is there and cannot be read.
    """
    node = read_node_file(data_dir)
    return node if node is not None and node.is_alive() else None


def remove_node_file(data_dir: Path) -> None:
    """Remove `node.json` and the token at a clean end, unless another process has written its own since."""
    with contextlib.suppress(FleetError):
        node = read_node_file(data_dir)
        if node is not None and node.pid == os.getpid():
            (data_dir / NODE_FILE).unlink(missing_ok=True)
            (data_dir / TOKEN_FILE).unlink(missing_ok=True)
