"""Follow what changes under a prefix, here and elsewhere, until the store stops."""

from __future__ import annotations

import asyncio

from propagul import AgentStateStore


async def follow(store: AgentStateStore, enough: int) -> None:
    """Print the changes as they come."""
    seen = 0
    async for change in store.watch("task/"):
        what = "deleted" if change.deleted else repr(change.value)
        print(f"{change.cause:>6}  {change.key} {what}")
        seen += 1
        if seen == enough:
            return


async def main() -> None:
    """A watcher, a local writer and a remote one."""
    here = AgentStateStore(room="watching", node_id="here", port=0)
    there = AgentStateStore(room="watching", node_id="there", port=0)
    await here.start()
    await there.start(peers=[here.addresses[0]])

    async with asyncio.TaskGroup() as group:
        group.create_task(follow(here, enough=4))
        await asyncio.sleep(0)  # the watcher begins to listen when its task runs
        here.set("task/1", "todo")
        await here.flush(peers=1)
        there.set("task/1", "doing")
        await there.flush(peers=1)
        there.set("unrelated", "not watched")
        there.delete("task/1")
        await there.flush(peers=1)
        here.set("task/2", "todo")

    await there.stop()
    await here.stop()


if __name__ == "__main__":
    asyncio.run(main())
