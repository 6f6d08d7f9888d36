"""A command's way to the running node: blocking, one request a connection, standard library only.

It speaks to the address in `node.json` and only while that process lives, so that the token is not shown to whoever
took the port after it.
"""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from fleet_app.addresses import parse_address
from fleet_app.admin.files import TOKEN_FILE, read_node_file
from fleet_app.admin.messages import ChangeReply, InviteReply, ListReply, RotationReply, RowsReply
from fleet_app.errors import FleetError

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.admin.messages import ChangeOrder
    from propagul.link.base import Address

_REPLY_BYTES_MAX = 16 * 1024 * 1024
_REPLY_TIMEOUT_S = 10.0

_Reply = TypeVar("_Reply", ChangeReply, InviteReply, ListReply, RotationReply, RowsReply)


class AdminClient:
    """A command's way to the running node. Blocking; one request a connection."""

    def __init__(self, gateway: Address, token: str) -> None:
        self._gateway, self._token = gateway, token

    def __repr__(self) -> str:
        return f"AdminClient({self._gateway})"

    @classmethod
    def from_data_dir(cls, data_dir: Path) -> AdminClient:
        """Return a client of the node that runs on `data_dir`.

        Raises:
            FleetError: None runs there, or its files cannot be read.
        """
        node = read_node_file(data_dir)
        if node is None:
            raise FleetError(f"no node runs on {data_dir}; start one with: propagul fleet up")
        if not node.is_alive():
            raise FleetError(f"the node on {data_dir} (pid {node.pid}) is gone; start it with: propagul fleet up")
        path = data_dir / TOKEN_FILE
        try:
            token = path.read_text(encoding="utf-8").strip()
        except OSError as problem:
            raise FleetError(f"cannot read {path}: {problem.strerror}; run this as the node's user") from problem
        return cls(parse_address(node.gateway), token)

    def status(self) -> dict[str, object]:
        """Return the fleet as the node sees it.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._call("GET", "/admin/status", None)

    def rows(self, prefix: str) -> dict[str, list[object]]:
        """Return the rows under `desired/`, `changes/` or `nodes/`, each with all its values.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(RowsReply, self._call("GET", f"/admin/rows/{prefix}", None)).rows

    def events(self, limit: int) -> list[dict[str, object]]:
        """Return the newest events that the node knows of, the newest first.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(ListReply, self._call("GET", f"/admin/events?limit={limit}", None)).items

    def logs(self, *, after: int = 0, limit: int = 100) -> list[dict[str, object]]:
        """Return lines of the node's log beyond the one with a number, the oldest first.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(ListReply, self._call("GET", f"/admin/logs?after={after}&limit={limit}", None)).items

    def change(self, order: ChangeOrder) -> str | None:
        """Change what is declared; return the change's id, None where nothing would change.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(ChangeReply, self._call("POST", "/admin/changes", order.model_dump(mode="json"))).id

    def invite(self, *, expires_s: int, uses: int, admin: bool = False) -> InviteReply:
        """Make an invite.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        order: dict[str, object] = {"expires_s": expires_s, "uses": uses, **({"admin": True} if admin else {})}
        return self._read(InviteReply, self._call("POST", "/admin/invite", order))

    def revoke(self, node: str) -> None:
        """Shut a node out.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        self._call("POST", "/admin/revoke", {"node": node})

    def rotation(self) -> RotationReply:
        """How far a change of the secret has come.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(RotationReply, self._call("GET", "/admin/rotation", None))

    def rotate(self, *, overlap_s: int) -> RotationReply:
        """Begin to change the secret.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(RotationReply, self._call("POST", "/admin/rotation", {"overlap_s": overlap_s}))

    def finish_rotation(self) -> RotationReply:
        """End the former secret now.

        Raises:
            FleetError: The node does not answer, or refuses.
        """
        return self._read(RotationReply, self._call("POST", "/admin/rotation/finish", {}))

    def _read(self, model: type[_Reply], reply: dict[str, object]) -> _Reply:
        try:
            return model.model_validate_json(json.dumps(reply))
        except ValidationError:
            raise FleetError(f"{self._stranger()}; is it an older version?") from None

    def _call(self, method: str, path: str, body: dict[str, object] | None) -> dict[str, object]:
        connection = http.client.HTTPConnection(*self._gateway, timeout=_REPLY_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return self._understood(response.status, response.read(_REPLY_BYTES_MAX))
        except OSError as problem:
            reason = problem.strerror or type(problem).__name__
            raise FleetError(f"the node at {self._gateway} does not answer: {reason}") from problem
        except (http.client.HTTPException, ValueError):
            raise FleetError(self._stranger()) from None
        finally:
            connection.close()

    def _understood(self, status: int, content: bytes) -> dict[str, object]:
        if status == 401:
            raise FleetError(
                f"the node at {self._gateway} refuses the token in {TOKEN_FILE}; if it just restarted, retry"
            )
        reply = json.loads(content)
        if not isinstance(reply, dict):
            raise FleetError(self._stranger())
        if status != 200:
            raise FleetError(f"the node refuses: {_message_of(reply)}")
        return reply

    def _stranger(self) -> str:
        return f"what answers at {self._gateway} does not speak like a node of Propagul"


def _message_of(reply: dict[str, object]) -> str:
    error = reply.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or "without a reason")[:500]
