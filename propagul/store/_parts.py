"""What a network is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from propagul.gossip import GossipConfig
    from propagul.link import ByteLink, Credentials, Transport
    from propagul.store._clock import Clock
    from propagul.store._invites import InviteBook
    from propagul.store._namespace import Namespace
    from propagul.store._presence import Presence
    from propagul.store._pressure import Pressure
    from propagul.store._processes import Processes
    from propagul.store._proofs import Proofs
    from propagul.store._questions import Questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a network is built around; owned by the store and alive before and after it."""

    label: str
    leaf: bool
    spaces: Mapping[str, Namespace]
    presence: Presence
    transport: Transport
    config: GossipConfig
    clock: Clock
    credentials: Credentials | None
    invites: InviteBook | None
    proofs: Proofs
    processes: Processes | None
    pressure: Pressure
    tunnel_handler: Callable[[ByteLink], Awaitable[None]] | None
    questions: Questions
