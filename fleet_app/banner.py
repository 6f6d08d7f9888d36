"""What a person reads when the node is up: where the dashboard is, what to type on the next box."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING

import click

from fleet_app.addresses import has_display, is_loopback, ssh_line
from propagul import IdentityError, __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet_app.config import Settings
    from fleet_app.membership import Membership
    from fleet_app.node import Node

_INVITE_S = 3600


class Banner:
    """Prints once, in lines that can be copied whole."""

    def __init__(self, say: Callable[[str], None], settings: Settings, membership: Membership) -> None:
        self._say = say
        self._settings = settings
        self._membership = membership

    def show(self, node: Node) -> None:
        """Print what there is to know of a node that has just started."""
        view = node.roster.view()
        up = sum(other.state != "down" for other in view.nodes)
        self._line("Propagul", f"{__version__}, node {self._settings.name}, {up} of {len(view.nodes)} nodes up")
        if self._membership.former is not None:
            self._line("Moved", f"the fleet of one that this box had is kept in {self._membership.former}")
        self._line("Dashboard", f"http://{node.gateway}")
        if not has_display():
            self._line("", ssh_line(node.gateway, getpass.getuser(), socket.gethostname()))
        self._line("OpenAI API", f"http://{node.gateway}/v1")
        for engine in node.beside.seen():
            models = ", ".join(model.name for model in engine.models[:4]) or engine.reason or "no models"
            self._line("Engine", f"{engine.kind} at {engine.url}: {engine.condition.replace('_', ' ')}, {models}")
        if not node.beside.seen():
            self._line("Engine", "none found yet; start one, or name it with --backend: it appears by itself")
        self._show_invite(node)
        self._line("", "Ctrl-C stops this node.")

    def _show_invite(self, node: Node) -> None:
        try:
            token = node.owner.invite(expires_s=_INVITE_S, uses=1)
        except IdentityError:
            self._line("Next box", "run `propagul fleet invite` where the fleet was founded")
            return
        self._line("Next box", f"propagul fleet up --join {token}")
        self._line("", "good for one box within one hour; `propagul fleet invite` makes more")
        if is_loopback(self._settings.listen.host):
            self._line("", f"from this machine only: the node listens on {node.store.addresses[0]}")

    def _line(self, head: str, text: str) -> None:
        self._say(click.style(f"{head:<12}", bold=True) + text)
