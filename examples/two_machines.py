"""Two machines that share their state, played by two stores on loopback.

On real machines each runs one half, with the other's address and the same secret.
"""

from __future__ import annotations

import asyncio

from propagul import AgentStateStore

SECRET = "a-secret-of-your-own-with-128-bits"


async def main() -> None:
    """Share, lose one machine, recover it from the other."""
    box1 = AgentStateStore(room="my-project", node_id="box1", port=0, host="127.0.0.1", secret=SECRET)
    await box1.start()
    box1.set("task", "research")

    box2 = AgentStateStore(room="my-project", node_id="box2", port=0, host="127.0.0.1", secret=SECRET)
    report = await box2.start(peers=[box1.addresses[0]])
    print(f"box2 recovered {report.rows} row from {report.peers[0].label}: task is {box2.get('task')!r}")

    box2.set("task", "write")
    await box2.flush(peers=1)  # returns when box1 has it
    print(f"box1 sees task {box1.get('task')!r}")

    await box1.stop()
    print("box1 is gone, with its memory")
    box1 = AgentStateStore(room="my-project", node_id="box1", port=0, host="127.0.0.1", secret=SECRET)
    await box1.start(peers=[box2.addresses[0]])
    print(f"box1 is back and has task {box1.get('task')!r}")

    await box1.stop()
    await box2.stop()


if __name__ == "__main__":
    asyncio.run(main())
