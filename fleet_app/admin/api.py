"""The `/admin/` routes, served on the front port, which is loopback only.

A request without the token learns nothing but that it needs one. Bodies are small, bounded while they are read and
checked field by field; a refusal never repeats what was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiohttp import web
from pydantic import ValidationError

from fleet_app.admin.messages import (
    ChangeOrder,
    ChangeReply,
    InviteOrder,
    InviteReply,
    ListReply,
    RevokeOrder,
    RotateOrder,
    RotationReply,
    RowsReply,
)
from fleet_app.errors import ConfigError
from propagul.errors import IdentityError, LimitExceeded, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_REQUEST_BYTES_MAX = 4 * 1024
_CHANGE_BYTES_MAX = 4 * 1024 * 1024

READABLE = ("desired/", "changes/", "nodes/")
"""Rows of the replica that commands read."""

_Order = TypeVar("_Order", ChangeOrder, InviteOrder, RevokeOrder, RotateOrder)


class AdminActions(Protocol):
    """What the node lets its owner do."""

    def status(self) -> dict[str, object]:
        """Return the fleet as a JSON object: `FleetView.to_json`."""

    def rows(self, prefix: str) -> dict[str, list[object]]:
        """Return the rows of the replica under a prefix, each with all its values, the one that holds first."""

    def events(self, limit: int) -> list[dict[str, object]]:
        """Return the newest events, the newest first. Called in a thread."""

    def logs(self, after: int, limit: int) -> list[dict[str, object]]:
        """Return lines of the node's log with a number beyond `after`, the oldest first."""

    def change(self, order: ChangeOrder) -> str | None:
        """Change what is declared; return the change's id, None where nothing would change.

        Raises:
            ConfigError: A value is none for its field.
            LimitExceeded, StoreError: It could not be written.
        """

    def invite(self, *, expires_s: int, uses: int, admin: bool) -> str:
        """Make an invite and return its token.

        Raises:
            IdentityError: This node cannot sign invites.
        """

    def revoke(self, node: str) -> None:
        """Shut a node out.

        Raises:
            IdentityError: This node does not hold the secret, or that is no other node's id.
        """

    def rotation(self) -> RotationReply:
        """Return how far a change of the secret has come."""

    def rotate(self, *, overlap_s: int) -> None:
        """Begin to change the secret.

        Raises:
            IdentityError: This node does not hold it, or it is being changed already.
        """

    def finish_rotation(self) -> None:
        """End the former secret now.

        Raises:
            IdentityError: None is being changed by this node.
        """


class AdminApi:
    """The `/admin/` routes of a node."""

    def __init__(self, actions: AdminActions, token: str) -> None:
        self._actions = actions
        self._token_hash = hashlib.sha256(token.encode()).digest()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each behind the token."""
        return [
            web.get("/admin/status", self._guarded(self._status)),
            *(web.get(f"/admin/rows/{prefix}", self._guarded(self._rows)) for prefix in READABLE),
            web.get("/admin/events", self._guarded(self._events)),
            web.get("/admin/logs", self._guarded(self._logs)),
            web.post("/admin/changes", self._guarded(self._change)),
            web.post("/admin/invite", self._guarded(self._invite)),
            web.post("/admin/revoke", self._guarded(self._revoke)),
            web.get("/admin/rotation", self._guarded(self._rotation)),
            web.post("/admin/rotation", self._guarded(self._rotate)),
            web.post("/admin/rotation/finish", self._guarded(self._finish)),
        ]

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not self._is_owner(request.headers.get("Authorization", "")):
                refusal = _problem(401, "this needs the token from admin.token in the node's data directory")
                refusal.headers["WWW-Authenticate"] = "Bearer"
                return refusal
            try:
                return await handler(request)
            except _BadOrderError as problem:
                return _problem(problem.status, str(problem))
            except ConfigError as problem:
                return _problem(400, str(problem))
            except (IdentityError, LimitExceeded, StoreError) as problem:
                return _problem(409, str(problem))

        return guarded

    def _is_owner(self, authorization: str) -> bool:
        """Compare hashes, so that neither content nor length of the token shows in the time it takes."""
        scheme, _, given = authorization.partition(" ")
        given_hash = hashlib.sha256(given.strip().encode(errors="surrogateescape")).digest()
        return hmac.compare_digest(given_hash, self._token_hash) and scheme.lower() == "bearer"

    async def _status(self, _: web.Request) -> web.Response:
        return _json(200, self._actions.status())

    async def _rows(self, request: web.Request) -> web.Response:
        rows = self._actions.rows(request.path.removeprefix("/admin/rows/"))
        return _json(200, RowsReply(rows=rows).model_dump())

    async def _events(self, request: web.Request) -> web.Response:
        limit = _number(request, "limit", 100, 1000)
        return _json(200, ListReply(items=await asyncio.to_thread(self._actions.events, limit)).model_dump())

    async def _logs(self, request: web.Request) -> web.Response:
        lines = self._actions.logs(_number(request, "after", 0, 2**53), _number(request, "limit", 100, 2000))
        return _json(200, ListReply(items=lines).model_dump())

    async def _change(self, request: web.Request) -> web.Response:
        order = await _order(request, ChangeOrder, bytes_max=_CHANGE_BYTES_MAX)
        return _json(200, ChangeReply(id=self._actions.change(order)).model_dump())

    async def _invite(self, request: web.Request) -> web.Response:
        order = await _order(request, InviteOrder)
        token = self._actions.invite(expires_s=order.expires_s, uses=order.uses, admin=order.admin)
        return _json(200, InviteReply(token=token, command=f"propagul fleet up --join {token}").model_dump())

    async def _revoke(self, request: web.Request) -> web.Response:
        self._actions.revoke((await _order(request, RevokeOrder)).node)
        return _json(200, {})

    async def _rotation(self, _: web.Request) -> web.Response:
        return _json(200, self._actions.rotation().model_dump(mode="json"))

    async def _rotate(self, request: web.Request) -> web.Response:
        self._actions.rotate(overlap_s=(await _order(request, RotateOrder)).overlap_s)
        return await self._rotation(request)

    async def _finish(self, request: web.Request) -> web.Response:
        self._actions.finish_rotation()
        return await self._rotation(request)


class _BadOrderError(Exception):
    """A body that is no order.

    Attributes:
        status: The answer's HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    """A number in the query.

    Raises:
        _BadOrderError: It is none.
    """
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise _BadOrderError(400, f"{name}: is no number")
    return min(int(text), most)


async def _order(request: web.Request, model: type[_Order], *, bytes_max: int = _REQUEST_BYTES_MAX) -> _Order:
    """Read an order.

    Raises:
        _BadOrderError: It is too long, or is none.
    """
    body = await _bounded_body(request, bytes_max)
    if body is None:
        raise _BadOrderError(413, f"the body is over {bytes_max} bytes")
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        raise _BadOrderError(400, _first_complaint(problem)) from None


async def _bounded_body(request: web.Request, bytes_max: int) -> bytes | None:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


def _first_complaint(problem: ValidationError) -> str:
    """Say which field is wrong and why, without what was in it."""
    error = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part)[:64] for part in error["loc"]) or "the body"
    return f"{where}: {error['msg']}"


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


def _problem(status: int, message: str) -> web.Response:
    return _json(status, {"error": {"message": message, "code": status}})
