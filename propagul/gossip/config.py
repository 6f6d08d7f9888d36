"""The knobs of gossip, each with its unit and what raising it costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipConfig:
    """How eager, how patient.

    Attributes:
        announce_delay_s: In a full mesh, wait this long after news from elsewhere before telling the other links of it.
            Raising it saves small messages where everybody hears the author directly, and delays relayed rows by as
            much.
        presence_announce_delay_s: The same for presence, whose owners tell everybody they are linked with themselves.
        presence_relay_delay_s: The same for presence where there are more members than links: what comes within so
            much time is told of together. Raising it saves small messages, and delays presence by as much a hop.
        process_patience_s: The same between processes of one directory for what one of them wrote, as all hear the
            author; and for what they are told of they ask after as long. Raising it saves copies of rows and delays
            those of a process that another is not linked with.
        process_push_interval_s: A process that is linked with others of its directory only waits this long between two
            pushes of what it writes. Raising it saves their time and delays what is written in bursts, but for the
            first write, and for whoever waits for other machines.
        process_push_interval_s_max: It waits longer the longer a burst lasts, at most this long.
        sparse_announce_delay_s: The same as `announce_delay_s` where there are more members than links.
        spare_delay_s: Wait this long before pushing to a peer that most likely hears of it by another way. Raising it
            saves copies of rows and makes a lost segment felt.
        ask_delay_s: Wait this long for what was told of before asking for it. Raising it saves copies, as above.
        answer_s_max: Where presence is asked for, of one neighbour after the other, wait this long for an answer.
        pulse_interval_s: An idle link carries one small frame this often, each way. Raising it saves about 30 bytes a
            frame and finds a hung process later; a machine that is gone is found by its system within 11 s.
        compare_interval_s: Two linked members compare sums of rows that prove themselves this often, and first a tenth
            of it after the link came up. Raising it saves counting, which reads all rows where some have changed, and
            mends later what somebody lied about.
        silence_s_max: A link on which nothing arrived for this long is dropped. Keep it over three pulses.
        presence_interval_s: How often a store looks after its presence, its members and its old records.
        presence_ttl_s: Others' presence rows vanish when their owner could not be reached for this long, by our own
            clock.
        bytes_per_s_max: One store sends at most this much to all others together, before encryption. Raising it joins
            large rooms faster and leaves less of an uplink to others.
        redial_s_max: Unreachable addresses are tried again at least this often.
        peers_max: Most links in a full mesh. With more members than that, each keeps `active_max` links.
        active_max: Links kept when there are more members than `peers_max`. Raising it costs small messages and saves
            hops.
    """

    announce_delay_s: float = 0.05
    presence_announce_delay_s: float = 1.0
    presence_relay_delay_s: float = 0.4
    process_patience_s: float = 1.0
    process_push_interval_s: float = 0.005
    process_push_interval_s_max: float = 0.05
    sparse_announce_delay_s: float = 0.005
    spare_delay_s: float = 0.025
    ask_delay_s: float = 0.02
    answer_s_max: float = 1.0
    pulse_interval_s: float = 10.0
    compare_interval_s: float = 600.0
    silence_s_max: float = 32.0
    presence_interval_s: float = 2.0
    presence_ttl_s: float = 10.0
    bytes_per_s_max: int = 64 * 1024 * 1024
    redial_s_max: float = 5.0
    peers_max: int = 12
    active_max: int = 6

    def telling_delay_s(self, *, sparse: bool, patient: bool) -> float:
        """How long to wait before telling others of news, where it is `sparse` or not; presence is `patient`."""
        if patient:
            return self.presence_relay_delay_s if sparse else self.presence_announce_delay_s
        return self.sparse_announce_delay_s if sparse else self.announce_delay_s

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
            presence_relay_delay_s=1.0,
            sparse_announce_delay_s=0.02,
            spare_delay_s=0.1,
            ask_delay_s=0.1,
            answer_s_max=4.0,
            pulse_interval_s=15.0,
            silence_s_max=50.0,
            bytes_per_s_max=4 * 1024 * 1024,
            presence_ttl_s=20.0,
        )

    @classmethod
    def test(cls) -> GossipConfig:
        """One process: everything at once."""
        return cls(
            announce_delay_s=0.01,
            presence_announce_delay_s=0.05,
            presence_relay_delay_s=0.05,
            process_patience_s=0.05,
            pulse_interval_s=0.5,
            compare_interval_s=2.0,
            silence_s_max=5.0,
            presence_interval_s=0.2,
            presence_ttl_s=1.5,
            redial_s_max=0.25,
        )
