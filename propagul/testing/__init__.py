"""Doubles for your own tests: a network in memory and a clock that moves when you say so.

Real stores, real protocol, no sockets and no waiting:

    from propagul import AgentStateStore
    from propagul.testing import MemoryNetwork, VirtualClock

    async def test_a_worker_catches_up_after_a_partition():
        clock = VirtualClock()
        network = MemoryNetwork(clock)
        a = AgentStateStore("room", "a", transport=network.transport("a"), clock=clock)
        b = AgentStateStore("room", "b", transport=network.transport("b"), clock=clock)
        await a.start()
        await b.start(peers=[("a", 9000)])
        network.cut("a", "b")
        a.set("task", "research")
        network.heal("a", "b")
        await clock.advance(10)
        assert b.get("task") == "research"
        await b.stop()
        await a.stop()

A network can `cut` two hosts apart, `clog` one way between them, `delay` and `lose` frames, `break_links` and `crash` a
host. A host is named by its transport; its address is that name with the store's port. Nothing here authenticates
anybody: that is the business of the TCP transport, and tested there.
"""

from propagul.testing.clock import VirtualClock as VirtualClock
from propagul.testing.network import MemoryNetwork as MemoryNetwork
from propagul.testing.network import MemoryTransport as MemoryTransport
