"""Two stores write the same key while they cannot reach each other: nothing is lost, and somebody decides."""

from __future__ import annotations

import asyncio

from propagul import AgentStateStore
from propagul.testing import MemoryNetwork, VirtualClock


async def main() -> None:
    """Cut, write on both sides, heal, resolve."""
    clock = VirtualClock()  # so that nobody has to wait for a network to break and heal
    network = MemoryNetwork(clock)
    paris = AgentStateStore("trip", "paris", transport=network.transport("paris"), clock=clock)
    tokyo = AgentStateStore("trip", "tokyo", transport=network.transport("tokyo"), clock=clock)
    await paris.start()
    await tokyo.start(peers=[("paris", 9000)])

    network.cut("paris", "tokyo")
    paris.set("hotel", "Ritz")
    await clock.advance(5)
    tokyo.set("hotel", "Ryokan")
    print(f"cut off: paris says {paris.get('hotel')!r}, tokyo says {tokyo.get('hotel')!r}")

    network.heal("paris", "tokyo")
    await clock.advance(10)
    print(f"healed: both show {paris.get('hotel')!r} and know of {paris.get_conflicts('hotel')}")
    assert paris.get_conflicts("hotel") == tokyo.get_conflicts("hotel")

    paris.resolve("hotel", lambda siblings: " then ".join(str(value) for value in siblings))
    await clock.advance(1)
    print(f"resolved by paris: tokyo shows {tokyo.get('hotel')!r}, conflicts {tokyo.get_conflicts('hotel')}")

    await tokyo.stop()
    await paris.stop()


if __name__ == "__main__":
    asyncio.run(main())
