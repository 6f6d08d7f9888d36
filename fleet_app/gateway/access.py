"""The guard of the front port: gateway, dashboard and admin alike are open on loopback and to nobody else.

"Open on loopback" means all of: a loopback peer, a loopback `Host` (any port, since `ssh -L` changes it), no sign of
a proxy, no foreign `Origin`, no foreign `Sec-Fetch-Site`. Each closes a way in that the others leave open: a page in
the user's browser is a loopback peer, a rebound name carries its own `Host`, and a proxy on this machine makes every
stranger a loopback peer. The guard looks at the request's head and never at its route, so a route added later is
closed by default. A refusal names what was refused, never what it held.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from aiohttp import web

from fleet_app.errors import GatewayError
from fleet_app.gateway.openai_errors import error_response

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from propagul.link.base import NodeId

GATEWAY_HEADER = "X-Propagul-Gateway"
"""On every response: this node's id. Detection reads it so that a gateway is never enrolled as an engine."""

_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_FORWARDING = ("Forwarded", "X-Real-IP", "Via")
_FORWARDING_PREFIX = "x-forwarded-"


def loopback_guard(*, port: int) -> Middleware:
    """An aiohttp middleware, to stand first: passes what is open on loopback and answers the rest with 403.

    Args:
        port: Where this node listens, for the way out that a refusal names.
    """
    way = (
        "this port answers programs and pages of its own machine; from elsewhere forward it with "
        f"`ssh -L {port}:127.0.0.1:{port} THIS-MACHINE` and open http://127.0.0.1:{port}"
    )

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = refusal(request)
        if refused is None:
            return await handler(request)
        message = f"refused: {refused}; {way}"
        return error_response(GatewayError(message, status=403, kind="permission_error", code="not_loopback"))

    return guard


def refusal(request: web.BaseRequest) -> str | None:
    """What about the request is not of this machine, or None when it may pass."""
    return next((refused for check in _CHECKS if (refused := check(request)) is not None), None)


def mark_responses(app: web.Application, *, node: NodeId) -> None:
    """Put our mark and `nosniff` on every response of `app`, streamed ones too, and let no CORS header out."""
    marks = marks_of(node)

    async def mark(_: web.Request, response: web.StreamResponse) -> None:
        for name in [name for name in response.headers if name.lower().startswith("access-control-")]:
            del response.headers[name]
        response.headers.update(marks)

    app.on_response_prepare.append(mark)


def marks_of(node: NodeId) -> dict[str, str]:
    """The headers that every response of the front port carries."""
    return {GATEWAY_HEADER: node, "X-Content-Type-Options": "nosniff", "Server": "propagul"}


def _foreign_peer(request: web.BaseRequest) -> str | None:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0]) if peer else None
    except ValueError:
        address = None
    mapped = getattr(address, "ipv4_mapped", None)
    if address is not None and (mapped or address).is_loopback:
        return None
    return "the connection does not come from this machine"


def _foreign_target(request: web.BaseRequest) -> str | None:
    return None if request.raw_path.startswith("/") else "the request target is not a path"


def _foreign_host(request: web.BaseRequest) -> str | None:
    hosts = request.headers.getall("Host", [])
    if len(hosts) == 1 and _LOOPBACK_HOST.fullmatch(hosts[0]):
        return None
    return "the Host header is not 127.0.0.1, localhost or [::1]"


def _forwarded(request: web.BaseRequest) -> str | None:
    names = [name for name in request.headers if name.lower().startswith(_FORWARDING_PREFIX)]
    if names or any(name in request.headers for name in _FORWARDING):
        return "it came through a proxy (a Forwarded, X-Forwarded-*, X-Real-IP or Via header)"
    return None


def _foreign_origin(request: web.BaseRequest) -> str | None:
    origins = request.headers.getall("Origin", [])
    own = f"{request.scheme}://{request.headers['Host']}".lower()  # after `_foreign_host`: there is exactly one
    if all(origin.lower() == own for origin in origins):
        return None
    return "the Origin header names another site"


def _foreign_site(request: web.BaseRequest) -> str | None:
    if all(site in {"same-origin", "none"} for site in request.headers.getall("Sec-Fetch-Site", [])):
        return None
    return "the Sec-Fetch-Site header says that another site asks"


_CHECKS = (_foreign_peer, _foreign_target, _foreign_host, _forwarded, _foreign_origin, _foreign_site)
