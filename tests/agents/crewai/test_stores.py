"""Adapters of one process that name the same place stand on one store, which the last of them closes."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from propagul_crewai import (
    PersistentCrew,
    PropagulCheckpointProvider,
    PropagulFlowPersistence,
    PropagulMemoryStorage,
    _stores,
)
from pydantic import ValidationError

from propagul import AgentStateStore, ClosedError
from tests.agents.crewai.models import CountedModel, parts

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    made = PropagulFlowPersistence(tmp_path / "state")
    assert not (tmp_path / "state").exists()
    made.init_db()
    assert (tmp_path / "state").exists()
    made.close()


def test_adapters_of_one_place_share_a_store_and_the_last_one_closes_it(tmp_path: Path) -> None:
    place = str(tmp_path / "state")
    flows, memory = PropagulFlowPersistence(place), PropagulMemoryStorage(place)
    crew = PersistentCrew(**parts(CountedModel(model="counted", calls=str(tmp_path / "calls"))), conn_string=place)
    shared = flows.store
    assert memory.store is crew.store is shared
    flows.close()
    flows.close()
    crew.close()
    shared.set("still", "open")
    memory.close()
    with pytest.raises(ClosedError):
        shared.set("still", "open")
    with pytest.raises(ClosedError, match="this adapter"):
        flows.load_state("f")
    with PropagulFlowPersistence(place) as again:
        assert again.store.get("still") == "open"


def test_a_relative_place_is_where_the_program_was_when_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        made.append(PropagulFlowPersistence("state/"))
        made[-1].save_state("f", "step", {"id": "f", "at": name})
    assert [persistence.load_state("f") for persistence in made] == [{"id": "f", "at": at} for at in ("one", "two")]
    with PropagulFlowPersistence(tmp_path / "one/state") as absolute:
        assert absolute.store is made[0].store
    for persistence in made:
        persistence.close()


def test_threads_that_use_an_adapter_first_open_one_store(tmp_path: Path) -> None:
    persistence = PropagulFlowPersistence(tmp_path / "state")
    with ThreadPoolExecutor(8) as pool:
        stores = set(pool.map(lambda _: persistence.store, range(8)))
    assert len(stores) == 1
    persistence.close()
    with pytest.raises(ClosedError):
        stores.pop().set("x", 1)


def test_an_adapter_that_is_forgotten_holds_nothing(tmp_path: Path) -> None:
    place = str(tmp_path / "state")
    kept, forgotten = PropagulFlowPersistence(place), PropagulFlowPersistence(place)
    shared = kept.store
    assert forgotten.store is shared
    del forgotten
    gc.collect()
    kept.close()
    with pytest.raises(ClosedError):
        shared.set("x", 1)


def test_a_store_of_the_programs_own_is_not_closed(store: AgentStateStore) -> None:
    with PropagulFlowPersistence(store) as persistence:
        persistence.save_state("f", "step", {"id": "f"})
    store.set("still", "open")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_opens_a_store_of_its_own(tmp_path: Path) -> None:
    with PropagulFlowPersistence(tmp_path / "state") as persistence:
        persistence.save_state("parent", "step", {"id": "parent"})
        if (child := os.fork()) == 0:
            persistence.save_state("child", "step", {"id": "child"})
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    with PropagulFlowPersistence(tmp_path / "state") as persistence:
        assert persistence.flows() == ["child", "parent"]


def test_what_no_adapter_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for made in (PropagulFlowPersistence, PropagulCheckpointProvider):
        with pytest.raises(ValidationError, match="durabilty"):
            made("state/", durabilty="group")
    with pytest.raises(ValueError, match="an empty line names no store"):
        PropagulMemoryStorage("").count()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [7, None, b"state/"])
def test_what_names_no_store_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="connection string"):
        PropagulMemoryStorage(wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="connection string"):
        _stores.named(wrong)


def test_a_store_that_only_an_adapter_holds_is_there_when_it_is_used() -> None:
    flows = PropagulFlowPersistence(AgentStateStore("agents", port=None))
    memory = PropagulMemoryStorage(AgentStateStore("agents", port=None))
    gc.collect()
    flows.save_state("f", "step", {"id": "f"})
    assert (flows.load_state("f"), memory.count()) == ({"id": "f"}, 0)
    for adapter in (flows, memory):
        adapter.store.close()


def test_a_name_of_a_store_never_comes_to_mean_another_one(store: AgentStateStore) -> None:
    names = set[object]()
    for _ in range(5):
        passing = AgentStateStore("agents", port=None)
        names.add(_stores.lent(passing))
        passing.close()
        del passing
        gc.collect()
    assert len(names) == 5
    assert _stores.lent(store) == _stores.lent(store)
