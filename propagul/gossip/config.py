"""The knobs of gossip, each with its unit and what raising it costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipConfig:
    """How eager, how patient.

    Attributes:
        announce_delay_s: Wait this long after news from elsewhere before telling the other links of it. Raising it
            saves small messages where everybody hears the author directly, and delays relayed rows by as much.
        presence_announce_delay_s: The same for presence, whose owners tell everybody they are linked with themselves.
            In a mesh of twelve this is most of what an idle node sends.
        digest_interval_s_max: An idle link carries one digest this often (it grows there from `announce_delay_s`,
            times 1.5 a round). Raising it saves about 4 bytes a round and finds dead links later.
        silence_s_max: A link on which nothing arrived for this long is dropped. Keep it over three idle intervals.
        presence_interval_s: Own presence rows are refreshed this often.
        presence_ttl_s: Others' presence rows vanish when nothing newer arrived for this long, by our own clock.
        redial_s_max: Unreachable addresses are tried again at least this often.
        peers_max: Most links kept by one store; beyond that, dials stop and newcomers are turned away.
    """

    announce_delay_s: float = 0.05
    presence_announce_delay_s: float = 1.0
    digest_interval_s_max: float = 5.0
    silence_s_max: float = 16.0
    presence_interval_s: float = 2.0
    presence_ttl_s: float = 10.0
    redial_s_max: float = 5.0
    peers_max: int = 12

    @classmethod
    def lan(cls) -> GossipConfig:
        """Machines in one house: the defaults."""
        return cls()

    @classmethod
    def wan(cls) -> GossipConfig:
        """Machines far apart: fewer, later messages, more patience."""
        return cls(
            announce_delay_s=0.2,
            presence_announce_delay_s=2.0,
            digest_interval_s_max=15.0,
            silence_s_max=50.0,
            presence_ttl_s=20.0,
        )

    @classmethod
    def test(cls) -> GossipConfig:
        """One process: everything at once."""
        return cls(
            announce_delay_s=0.01,
            presence_announce_delay_s=0.05,
            digest_interval_s_max=0.25,
            silence_s_max=5.0,
            presence_interval_s=0.2,
            presence_ttl_s=1.5,
            redial_s_max=0.25,
        )
