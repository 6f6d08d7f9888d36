"""Two agents share work. A network cut has both do the same, which both see; then one of them crashes at work."""

from __future__ import annotations

import asyncio

from propagul import AgentStateStore
from propagul.room import Room
from propagul.testing import MemoryNetwork, VirtualClock


async def main() -> None:
    """Share, cut, heal, crash, take over."""
    clock = VirtualClock()  # so that nobody has to wait for a network to break and heal
    network = MemoryNetwork(clock)
    stores = [AgentStateStore("paper", name, transport=network.transport(name), clock=clock) for name in ("ann", "bob")]
    await stores[0].start()
    await stores[1].start(peers=[("ann", 9000)])
    rooms = [Room(store, "survey", capabilities=["search"]) for store in stores]
    for room in rooms:
        room.enter()  # or `with room:`, where one program has one agent
    ann, bob = (room.queue("steps") for room in rooms)
    await clock.advance(1)
    print("in the room:", [agent.name for agent in rooms[0].members(capable_of=["search"])])

    ann.put("find papers", task_id="find", needs=["search"])
    await clock.advance(1)
    network.cut("ann", "bob")
    first = ann.claim()
    await clock.advance(1)
    second = bob.claim()
    assert first is not None
    assert second is not None
    print(f"cut off: ann works on {first.payload!r}, bob works on {second.payload!r}")

    network.heal("ann", "bob")
    await clock.advance(10)
    for name, queue in (("ann", ann), ("bob", bob)):
        (task,) = queue.contested()
        print(f"healed: {name} sees that it is {task.word.agent}'s, and not {task.rivals[0].agent}'s")
    print(f"lost: ann's {first.is_lost}, bob's {second.is_lost}")
    first.complete("12 papers")
    await clock.advance(1)
    print(f"bob finishes too: {second.complete('11 papers')}, he has {bob.word('find').result!r}")

    bob.put("read papers", task_id="read")
    assert bob.claim() is not None
    await clock.advance(1)
    network.cut("ann", "bob")
    network.crash("bob")
    print("bob is gone, ann finds work:", ann.claim())
    await clock.advance(10)  # his presence expires
    ann.claim()  # from here on he is missed
    await clock.advance(5)
    taken = ann.claim()
    assert taken is not None
    print(f"missed for five seconds: ann takes over {taken.payload!r}, attempt {taken.attempt}")

    for store in stores:
        await store.stop()


if __name__ == "__main__":
    asyncio.run(main())
