"""What a store tells of the presence of others: which keys changed, and who still counts."""

from __future__ import annotations

from tests.store.world import FAST, loopback, run, until


def test_every_change_of_presence_is_told_by_its_key() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        changed: list[str] = []
        a.presence.listen(changed.append)
        await a.start()
        await b.start(peers=[a.addresses[0]])
        try:
            b.presence.set("x", 1)
            await until(lambda: "x" in changed)
            changed.clear()
            b.presence.set("x", 2)
            await until(lambda: "x" in changed)
            changed.clear()
            b.presence.delete("x")
            await until(lambda: "x" in changed)
            changed.clear()
            a.presence.set("own", 1)
            assert changed == ["own"]
        finally:
            await b.stop()
            await a.stop()

    run(scenario)


def test_what_somebody_said_counts_for_as_long_as_it_can_be_reached() -> None:
    async def scenario() -> None:
        a, b = loopback("a"), loopback("b")
        await a.start()
        await b.start(peers=[a.addresses[0]])
        try:
            b.presence.set("x", 1)
            a.presence.set("own", 1)
            await until(lambda: a.presence.get("x"))
            said, own = a.presence.get("x"), a.presence.get("own")
            assert said
            assert own
            age_s = a.presence.heard_s(said)
            assert age_s is not None
            assert age_s <= FAST.presence_ttl_s
            assert a.presence.heard_s(own) == 0.0
            await b.stop()
            await until(lambda: a.presence.heard_s(said) is None)
        finally:
            await b.stop()
            await a.stop()

    run(scenario)
