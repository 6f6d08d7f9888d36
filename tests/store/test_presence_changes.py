"""What a store tells of the presence of others: which keys changed, who still counts, and what is too large to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propagul import AgentStateStore, Oversized
from propagul.store import _values
from tests.store.world import FAST, loopback, run, until

if TYPE_CHECKING:
    import pytest

    from propagul.crdt import Payload


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


def test_what_is_larger_than_its_reader_wants_is_not_decoded_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = AgentStateStore("room", port=None)
    values: dict[str, object] = {"bytes": b"x" * 101, "list": [0] * 101, "small": [0] * 50, "text": "x" * 101}
    for key, value in values.items():
        store.presence.set(key, value)
    assert {key: heard.value for key, heard in store.presence.get_all().items()} == values
    decoded, thaw = list[str](), _values.thaw

    def counted(key: str, payload: Payload) -> object:
        decoded.append(key)
        return thaw(key, payload)

    monkeypatch.setattr(_values, "thaw", counted)
    found = {key: heard.value for key, heard in store.presence.get_all(bytes_max=100).items()}
    assert found == {"bytes": Oversized(101), "list": Oversized(104), "small": [0] * 50, "text": Oversized(101)}
    alone = store.presence.get("list", bytes_max=100)
    assert alone is not None
    assert (alone.value, decoded) == (Oversized(104), ["small"])
    store.close()
