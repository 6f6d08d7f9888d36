"""One OpenAI-compatible endpoint over the whole fleet, and the guard of the port it stands on.

`Gateway` is the front at any node, `ServingSide` what stands before the engines at their own node; between them are
tunnels. `front_application` and `front_runner` make the guarded application that gateway and dashboard share.
"""

from fleet_app.gateway.access import GATEWAY_HEADER, loopback_guard, mark_responses
from fleet_app.gateway.front import front_application, front_runner
from fleet_app.gateway.ingress import Gateway
from fleet_app.gateway.serving import ServingSide

__all__ = [
    "GATEWAY_HEADER",
    "Gateway",
    "ServingSide",
    "front_application",
    "front_runner",
    "loopback_guard",
    "mark_responses",
]
