"""Owned rows in whole stores: what their users see, what the log keeps, and a hostile member among real ones."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, Retention
from propagul.crdt import REGISTER, REMOVE, Block, Evicted, Floor, Join, Op, Origin, Packed
from propagul.errors import LocalProtocolError, StoreCorrupt
from propagul.link import Identity, NodeId
from propagul.store._export import Exported, export_lines
from propagul.store._import import import_lines
from propagul.store._ownership import FILE, MEMBERS
from propagul.store._spaces import PRESENCE, STATE
from propagul.store._values import Limits, freeze
from propagul.store._verify import verify
from tests.store.owners import covering, hand, tell
from tests.store.world import FAST, ROOM, SECRET, Island, address, on_island, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from propagul.crdt import Batch, Row
    from propagul.store._namespace import Namespace
    from propagul.store._owned import OwnedRows

STRANGER = Identity.from_seed(b"s" * 32).node


def owning(path: Path | None = None, label: str = "a", **more: object) -> AgentStateStore:
    """A store of a room in which `nodes/` is owned, with real links."""
    return AgentStateStore(
        ROOM,
        label,
        0,
        "127.0.0.1",
        path=path,
        secret=SECRET,
        config=FAST,
        owned=("nodes/",),
        **more,  # type: ignore[arg-type]
    )


def own(store: AgentStateStore) -> str:
    return f"nodes/{store.node}"


@pytest.fixture
def store() -> Iterator[AgentStateStore]:
    store = owning()
    yield store
    store.close()


def test_a_store_reads_its_own_row_like_any_other(store: AgentStateStore) -> None:
    for value in (
        None,
        True,
        3,
        "text",
        b"bytes",
        [1, {"a": 2}],
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "x" * 100_000,
    ):
        store.set(own(store), value)
        store.set("ordinary", value)
        assert store.get(own(store)) == store.get("ordinary") == value
        assert store.get_all() == {own(store): value, "ordinary": value}
        assert type(store.get(own(store))) is type(value)
    assert own(store) in store
    assert len(store) == 2 == store.stats.keys


def test_anothers_row_cannot_be_written_here_and_the_error_names_the_rule(store: AgentStateStore) -> None:
    writes: list[tuple[str, Callable[[], None]]] = [
        ("nodes/", lambda: store.set(f"nodes/{STRANGER}", "mine")),
        ("nodes/", lambda: store.set("nodes/nobody", ["mine"])),
        ("nodes/", lambda: store.presence.set(f"nodes/{STRANGER}", "mine")),
        ("members/", lambda: store.presence.set(MEMBERS + STRANGER, "mine")),
    ]
    for prefix, write in writes:
        with pytest.raises(LocalProtocolError, match=f"only beneath its own identity, which is '{prefix}{store.node}'"):
            write()
    store.presence.repeat()
    assert store.get_all() == {}
    assert store.presence.get_all() == {}, "what was refused is not repeated either"


def test_a_transaction_refuses_anothers_row_where_it_is_written(store: AgentStateStore) -> None:
    with store.transaction():
        store.set("before", 0)
        with pytest.raises(LocalProtocolError):
            store.set(f"nodes/{STRANGER}", 2)
    assert store.get_all() == {"before": 0}
    with store.transaction():
        store.set("before", 1)
        store.set(own(store), 2)
        assert store.get(own(store)) == 2
    assert store.get_all() == {"before": 1, own(store): 2}


def test_without_prefixes_nothing_is_owned_in_the_state(tmp_path: Path) -> None:
    store = AgentStateStore(ROOM, "a", None, path=tmp_path, secret=SECRET)
    store.set(f"nodes/{STRANGER}", "as always")
    assert store._state.row(f"nodes/{STRANGER}").siblings[0].payload == "as always"
    assert store._state.sealed is None
    store.close()


def test_where_node_ids_are_no_keys_nothing_is_owned() -> None:
    async def scenario(island: Island) -> None:
        transport = island.network.transport("a")
        store = AgentStateStore(ROOM, "a", transport=transport, clock=island.clock, owned=("nodes/",))
        island.stores.append(store)
        await store.start()
        store.presence.set(MEMBERS + "anybody", 1)
        store.set("nodes/anybody", 1)
        assert store.get("nodes/anybody") == 1

    on_island(scenario)


def test_what_is_taken_back_is_gone_for_every_reader(tmp_path: Path) -> None:
    store = owning(tmp_path, retention=Retention("all"))
    key = own(store)
    store.set(key, "here")
    assert store.delete(key)
    assert not store.delete(key)
    assert store.get(key, "nothing") == "nothing"
    assert key not in store
    assert len(store) == 0 == store.stats.keys
    assert store.get_all() == {}
    assert [(v.value, v.deleted) for v in store.history(key)] == [("here", False), (None, True)]
    past = store.at(dt.datetime.now(dt.UTC))
    assert (past.get(key, "nothing"), key in past, len(past), past.get_all()) == ("nothing", False, 0, {})
    assert [json.loads(line).get("key") for line in export_lines(store, ROOM, Exported())] == [None, None]
    assert import_lines(store, export_lines(store, ROOM, Exported())).written == 0
    store.close()
    assert [report.keys for report in verify(tmp_path)] == [0]


def test_watchers_see_values_and_that_they_are_gone() -> None:
    async def scenario() -> None:
        store, seen = owning(), list[tuple[object, bool, str]]()
        await store.start()

        async def watch() -> None:
            async for change in store.watch("nodes/"):
                seen.append((change.value, change.deleted, change.origin))

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await until(lambda: store._watchers)
            store.set(own(store), {"name": "a"})
            store.delete(own(store))
            await until(lambda: len(seen) == 2)
            await store.stop()
        origin = f"{store._state.origin:016x}"
        assert seen == [({"name": "a"}, False, origin), (None, True, "")]

    run(scenario)


def test_an_import_leaves_out_what_only_others_may_write(store: AgentStateStore) -> None:
    lines = [
        json.dumps({"format": "propagul export", "version": 1}),
        json.dumps({"key": own(store), "type": "value", "value": "ours"}),
        json.dumps({"key": f"nodes/{STRANGER}", "type": "value", "value": "theirs"}),
        json.dumps({"end": 2}),
    ]
    done = import_lines(store, lines)
    assert (done.written, done.owned) == (1, 1)
    assert store.get_all() == {own(store): "ours"}


# --- on the disk -----------------------------------------------------------------------------------------------------


def test_the_log_brings_owned_rows_back_and_no_join_removes_them_there(tmp_path: Path) -> None:
    owner, store = owning(), owning(tmp_path)
    owner.set(own(owner), {"name": "owner"})
    tell(store._state, owner._state)
    hand(store._state, Block([], []), join=Join(covering((owner._state.origin, owner._state.minted)), Floor()))
    store.set(own(store), "x" * 1000, block=False)
    before = store.get_all()
    assert len(before) == 2
    for compact in (False, True, False):
        if compact:
            store.compact()
        store.close()
        store = owning(tmp_path)
        assert store.get_all() == before
        assert store.stats.conflicts == 0
    assert store.at(dt.datetime.now(dt.UTC)).get_all() == before
    store.close()
    owner.close()


def test_the_past_and_the_other_processes_of_a_directory_read_the_log_by_the_same_rule(tmp_path: Path) -> None:
    """What the owner wrote before and after a restart is no conflict, and a join that leaves it out removes nothing."""
    owner = owning(tmp_path / "owner")
    first = own(owner)
    store = owning(tmp_path / "reader", retention=Retention("all"))
    owner.set(first, "before")
    tell(store._state, owner._state)
    owner._state._replica.renew(Origin(7))
    owner.set(first, "after")
    tell(store._state, owner._state)
    vector = covering(*store._state.hello()[1])
    hand(store._state, Block([], []), join=Join(vector, Floor()))
    assert [(v.value, v.conflict) for v in store.history(first)] == [("before", False), ("after", False)]
    beside = owning(tmp_path / "reader")
    assert beside.get_all() == store.get_all() == {first: "after"}
    for opened in (beside, store, owner):
        opened.close()


def test_processes_of_one_directory_write_as_one_member(tmp_path: Path) -> None:
    async def scenario() -> None:
        other = owning(None, "b")
        await other.start()
        first, second = owning(tmp_path), owning(tmp_path)
        await first.start(peers=[address(other)])
        await second.start()
        key = own(first)
        assert key == own(second)
        first.set(key, "by the first")
        await until(lambda: second.get(key) == other.get(key) == "by the first")
        second.set(key, "by the second")
        await until(lambda: first.get(key) == other.get(key) == "by the second")
        await until(lambda: [member.node for member in other.members()] == [first.node])
        await first.stop()
        await until(second.linked)
        second.set(key, "by the second alone")
        await until(lambda: other.get(key) == "by the second alone")
        await until(lambda: [member.node for member in other.members()] == [second.node])
        assert other.stats.refused_rows == second.stats.refused_rows == 0
        assert other.stats.conflicts == second.stats.conflicts == 0
        await second.stop()
        await other.stop()

    run(scenario)


def test_what_an_older_log_holds_unsigned_is_dropped_at_open(tmp_path: Path) -> None:
    store = AgentStateStore(ROOM, "a", None, path=tmp_path, secret=SECRET)
    node = store.node
    for key in (f"nodes/{node}", f"nodes/{STRANGER}", "nodes/gone", "ordinary"):
        store.set(key, "unsigned")
    store.delete("nodes/gone")
    store.close()
    store = owning(tmp_path)
    assert store.get_all() == {"ordinary": "unsigned"}
    assert store.stats.removal_records == 0
    store.set(f"nodes/{node}", "signed")
    store.close()
    store = owning(tmp_path)
    assert store.get_all() == {"ordinary": "unsigned", f"nodes/{node}": "signed"}
    store.close()


def test_a_directory_says_what_is_owned_in_it_to_programs_that_do_not_know(tmp_path: Path) -> None:
    owner = owning(tmp_path)
    owner.set(own(owner), "signed")
    owner.close()
    store = AgentStateStore(ROOM, "a tool", None, path=tmp_path, secret=SECRET)
    with pytest.raises(LocalProtocolError):
        store.set(f"nodes/{STRANGER}", "by a tool")
    store.close()
    store = AgentStateStore(ROOM, "a", None, path=tmp_path, secret=SECRET, owned=())
    store.set(f"nodes/{STRANGER}", "they are free again")
    store.close()
    assert json.loads((tmp_path / FILE).read_text()) == {"format": 1, "owned": []}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2, "owned": []}', '{"format": 1, "owned": "nodes/"}', '{"format": 1, "owned": [7]}']
)
def test_a_directory_that_does_not_say_it_clearly_is_not_guessed_about(tmp_path: Path, text: str) -> None:
    owning(tmp_path).close()
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreCorrupt, match=r"open the store once with owned=\[...\]"):
        AgentStateStore(ROOM, "a", None, path=tmp_path, secret=SECRET)
    owning(tmp_path).close()
    AgentStateStore(ROOM, "a", None, path=tmp_path, secret=SECRET).close()


@pytest.mark.parametrize("prefix", ["", "/", "nodes", "\0nodes/", 7])
def test_a_prefix_that_cannot_be_one_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="such as 'nodes/'"):
        AgentStateStore(ROOM, "a", None, secret=SECRET, owned=(prefix,))


def test_owned_values_stay_in_memory(tmp_path: Path) -> None:
    """They are read with the lock held, where nobody waits for a disk."""
    store = owning(tmp_path, memory_bytes=1024 * 1024)
    store.set(own(store), "x" * 1000)
    for n in range(3000):
        store.set(f"filler {n}", "y" * 1000)
    store._disk.eviction.run()  # type: ignore[union-attr]
    assert store.stats.evicted > 1000
    assert type(store._state.table.get(own(store))) is Packed
    store.close()
    store = owning(tmp_path, memory_bytes=1024 * 1024)
    assert store.stats.evicted > 1000
    assert type(store._state.table.get(own(store))) is Packed
    assert store.get(own(store)) == "x" * 1000
    store.close()


def test_a_long_stream_into_full_memory_is_joined_by_rank(tmp_path: Path) -> None:
    """Then what arrived stands in the log alone, and its rank is read from there."""
    owner = owning()
    key, wall_ns = own(owner), owner._state._wall_ns
    owner._state._wall_ns = lambda: wall_ns() + 10**11
    owner.set(key, "a" * 1000)
    store = owning(tmp_path, memory_bytes=1024 * 1024)
    tell(store._state, owner._state)
    owner._state._wall_ns = wall_ns
    owner._state._replica.renew(Origin(7))
    owner.set(key, "b" * 1000)  # by a clock that went back
    for n in range(1500):
        owner.set(f"filler {n}", "y" * 2000)
    tell(store._state, owner._state)
    assert store._state.is_busy
    store._state.settle_all()
    assert isinstance(store._state.table.get(key), Evicted)
    assert store.get(key) == "b" * 1000
    assert store.stats.refused_rows == store.stats.conflicts == 0
    store.close()
    owner.close()


# --- among others ----------------------------------------------------------------------------------------------------


def test_a_hostile_member_changes_nothing_of_what_others_say_of_themselves(tmp_path: Path) -> None:
    """Three stores over TCP; the third writes and sends what it likes, by the replica itself."""

    async def scenario() -> None:
        honest = [owning(tmp_path / "a", "a"), owning(tmp_path / "b", "b")]
        hostile = owning(None, "c")
        await honest[0].start()
        await honest[1].start(peers=[address(honest[0])])
        await hostile.start(peers=[address(store) for store in honest])
        for store in honest:
            store.set(own(store), {"name": store.label})
            store.presence.set(own(store), {"busy": store.label})
        keys = [own(store) for store in honest]
        await until(lambda: all(key in store for key in keys for store in (*honest, hostile)))
        await until(lambda: all(store.presence.get(key) for key in keys for store in (*honest, hostile)))
        await until(lambda: all(len(store.members()) == 2 for store in honest))
        said = {key: honest[0].get(key) for key in keys}

        for lawless in (hostile._state, hostile._spaces[PRESENCE]):
            _unbind(lawless)
            old = {key: lawless.row(key).siblings[0].payload for key in keys}
            lawless.put(keys[0], "forged")
            lawless.put(keys[1], old[keys[1]])  # an old value under a new dot
            lawless.put(f"{keys[0]}/below", old[keys[0]])
            lawless.put(f"nodes/{hostile.node}/second", "its own to say")
            lawless.put(f"nodes/{STRANGER}", "nobody said so")
        for ghost in (STRANGER, f"{hostile.node}/second"):
            hostile._spaces[PRESENCE].put(MEMBERS + ghost, freeze("", {"label": "ghost"}, Limits()))
        hostile._state.write([lambda _: [Op(keys[0], REGISTER, "forged again"), Op("marker", REGISTER, "sent")]])
        for space in (STATE, PRESENCE):
            hostile._push(space)
        await until(lambda: all(store.get("marker") == "sent" for store in honest))
        hostile._state.write([lambda _: [Op(keys[1], REGISTER, REMOVE), Op("marker", REGISTER, "removed")]])
        hostile._push(STATE)
        await until(lambda: all(store.get("marker") == "removed" for store in honest))
        await until(lambda: all(store._spaces[PRESENCE].traffic.refused_rows >= 4 for store in honest))

        for store in honest:
            own_word = {f"nodes/{hostile.node}/second": "its own to say"}
            assert {key: value for key, value in store.items() if key.startswith("nodes/")} == said | own_word
            assert {key: heard.value for key, heard in store.presence.get_all("nodes/").items()} == {
                own(other): {"busy": other.label} for other in honest
            } | own_word
            assert {member.node for member in store.members()} == {
                other.node for other in (*honest, hostile) if other is not store
            }
            assert store.stats.refused_rows >= 8
            assert store.linked() >= {other.node for other in honest if other is not store}
        assert hostile.get(keys[0]) == "forged again", "or it was not hostile"

        await honest[1].stop()
        await until(lambda: honest[0].presence.get(keys[1]) is None)
        assert honest[0].get(keys[1]) == said[keys[1]]
        await honest[0].stop()
        await hostile.stop()

    run(scenario)


class Lawless:
    """Signs what is its own to say, and lets everything else pass."""

    def __init__(self, owned: OwnedRows) -> None:
        self._owned, self.prefixes = owned, ()

    def is_barred(self, *_: object) -> bool:
        return False

    def seal(self, batch: Batch, row: Callable[[str], Row]) -> Batch:
        return batch._replace(
            ops=[op if self._owned.is_others(op.key) else self._own(op, batch, row) for op in batch.ops]
        )

    def _own(self, op: Op, batch: Batch, row: Callable[[str], Row]) -> Op:
        return self._owned.seal(batch._replace(ops=[op]), row).ops[0]


def _unbind(space: Namespace) -> None:
    assert space.sealed is not None
    space.minting.sealed = Lawless(space.sealed)  # type: ignore[arg-type, assignment]  # as much of it as is asked for
    space._replica.apart = None
    space.traffic.admit = lambda block: block
    space.put_plain = lambda *_: False


def test_a_clean_goodbye_is_heard_at_once_and_by_who_comes_later() -> None:
    async def scenario() -> None:
        a, b, late = owning(None, "a"), owning(None, "b"), owning(None, "late")
        await a.start()
        await b.start(peers=[address(a)])
        b.presence.set(own(b), "here")
        await until(lambda: a.presence.get(own(b)) is not None)
        node = b.node
        await b.stop()
        await until(lambda: a.presence.get(f"nodes/{node}") is None)
        await late.start(peers=[address(a)])
        assert late.presence.get(f"nodes/{node}") is None
        assert NodeId(node) not in {member.node for member in late.members()}
        assert a.stats.refused_rows == late.stats.refused_rows == 0
        await late.stop()
        await a.stop()

    run(scenario)


def test_stores_that_do_not_agree_whose_rows_are_whose_exchange_nothing_and_say_so() -> None:
    async def scenario() -> None:
        careful = AgentStateStore("room", "careful", 0, "127.0.0.1", secret=SECRET, config=FAST, owned=("nodes/",))
        careless = AgentStateStore("room", "careless", 0, "127.0.0.1", secret=SECRET, config=FAST)
        await careful.start()
        careful.set("k", 1)
        await careless.start(peers=[address(careful)], sync_timeout_s=1)
        said = [(careful, "other rules than this store: here owned=nodes/"), (careless, "other rules than this store")]
        await until(lambda: any(words in store.stats.last_drop for store, words in said))
        assert "k" not in careless
        await careless.stop()
        await careful.stop()

    run(scenario)
