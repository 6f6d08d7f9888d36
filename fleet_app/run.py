"""One run of a node, from settings to exit code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleet_app import _system
from fleet_app.addresses import free_port_near
from fleet_app.banner import Banner
from fleet_app.membership import obtain
from fleet_app.node import Node
from propagul.link import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.config import Settings


def serve(settings: Settings, say: Callable[[str], None]) -> int:
    """Run a node until Ctrl-C or SIGTERM; return the exit code.

    Args:
        settings: What it was told.
        say: Prints one line for people.

    Raises:
        ConfigError: Something in the settings or on this machine is in the way.
    """
    return asyncio.run(_serve(settings, say))


async def _serve(settings: Settings, say: Callable[[str], None]) -> int:
    stop = asyncio.Event()
    loop, reload = asyncio.get_running_loop(), settings.reload
    _system.on_stop_signals(loop, stop.set)
    # A service is told so to read its file again; a terminal says so that it is gone.
    _system.on_hangup(loop, stop.set if reload is None or _system.has_terminal() else reload.ask)
    settings = _with_free_ports(settings)
    membership = await obtain(settings)
    node = Node(settings, membership)
    try:
        await node.start()
        Banner(say, settings, membership).show(node)
        await node.run(stop)
        say("stopping: finishing what is running (Ctrl-C again to end at once)")
    finally:
        await node.stop()
    return 0


def _with_free_ports(settings: Settings) -> Settings:
    """Move ports that nobody chose to free ones, so that a second node on one box needs no flags."""
    listen, gateway = settings.listen, settings.gateway
    if not settings.gateway_given:
        gateway = Address(gateway.host, free_port_near(gateway.host, gateway.port))
    if not settings.listen_given:
        listen = Address(listen.host, free_port_near(listen.host, listen.port))
        if listen.port == gateway.port != 0:  # free for both, and neither is bound yet
            listen = Address(listen.host, free_port_near(listen.host, listen.port + 1))
    return settings.model_copy(update={"listen": listen, "gateway": gateway})
