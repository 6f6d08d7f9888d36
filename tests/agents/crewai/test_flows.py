"""`PropagulFlowPersistence` does for flows what CrewAI's own persistence does, and what only a replicated store can."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from crewai.flow.async_feedback.types import HumanFeedbackPending, PendingFeedbackContext
from crewai.flow.flow import Flow, listen, start
from crewai.flow.human_feedback import human_feedback
from crewai.flow.persistence import SQLiteFlowPersistence, persist
from crewai.flow.persistence.base import _persistence_registry
from propagul_crewai import PropagulFlowPersistence
from propagul_crewai.flows import HEADS
from pydantic import BaseModel

from propagul import AgentStateStore, LocalProtocolError, StoreError
from tests.agents.crewai.conftest import SECRET

if TYPE_CHECKING:
    from pathlib import Path


class Report(BaseModel):
    id: str = "r1"
    topic: str = "moss"
    at: datetime = datetime(2026, 11, 30, tzinfo=UTC)
    tags: set[str] = {"green"}


@persist(PropagulFlowPersistence("memory://"))
class Counting(Flow[dict]):
    @start()
    def count(self) -> None:
        self.state["n"] = self.state.get("n", 0) + 1


class Asks:
    """A provider of feedback that does not wait for it."""

    def request_feedback(self, context: PendingFeedbackContext, flow: Any) -> str:  # noqa: ARG002 - CrewAI's
        raise HumanFeedbackPending(context=context)


class Review(Flow[dict]):
    @start()
    @human_feedback(message="Is it good?", provider=Asks())
    def draft(self) -> str:
        self.state["draft"] = "the draft"
        return "the draft"

    @listen(draft)
    def publish(self, result: Any) -> str:
        return f"{self.state['draft']}: {result.feedback}"


def test_the_last_state_is_the_one_that_is_loaded(store: AgentStateStore) -> None:
    persistence = PropagulFlowPersistence(store)
    assert persistence.load_state("f") is None
    for number in range(3):
        persistence.save_state("f", "step", {"id": "f", "n": number})
    assert persistence.load_state("f") == {"id": "f", "n": 2}
    assert store.keys(HEADS) == [f"{HEADS}f"], "a state replaces the one before"


@pytest.mark.parametrize("state", [{"id": "s", "at": datetime(2026, 1, 2, tzinfo=UTC), "tags": ("a", "b")}, Report()])
def test_a_state_comes_back_as_from_crewais_own_persistence(
    state: dict[str, Any] | BaseModel, store: AgentStateStore, tmp_path: Path
) -> None:
    ours, theirs = PropagulFlowPersistence(store), SQLiteFlowPersistence(str(tmp_path / "flows.db"))
    for persistence in (ours, theirs):
        persistence.save_state("s", "step", state)
    assert ours.load_state("s") == theirs.load_state("s")


def test_a_state_larger_than_a_value_is_kept_whole_and_leaves_nothing_behind(store: AgentStateStore) -> None:
    persistence = PropagulFlowPersistence(store)
    for number in range(3):
        state = {"id": "big", "text": "ü" * 1_500_000, "n": number}
        persistence.save_state("big", "step", state)
        assert persistence.load_state("big") == state
        parts = store.keys("crewai/part/")
    assert len(parts) == len(store.keys("crewai/part/")) > 1
    persistence.save_state("big", "step", {"id": "big"})
    assert store.keys("crewai/part/") == []


def test_a_flow_goes_on_from_its_state_on_another_machine(pair: tuple[AgentStateStore, AgentStateStore]) -> None:
    here, there = pair
    Counting(persistence=PropagulFlowPersistence(here)).kickoff(inputs={"id": "c"})
    here.flush_blocking(peers=1)
    elsewhere = PropagulFlowPersistence(there)
    assert elsewhere.flows() == ["c"]
    Counting(persistence=elsewhere).kickoff(inputs={"id": "c"})
    assert elsewhere.load_state("c") == {"id": "c", "n": 2}


def test_two_states_saved_without_knowing_of_each_other_are_both_shown() -> None:
    stores = [AgentStateStore("agents", name, 0, "127.0.0.1", secret=SECRET) for name in ("here", "there")]
    here, there = map(PropagulFlowPersistence, stores)
    here.save_state("f", "step", {"id": "f", "by": "here"})
    there.save_state("f", "step", {"id": "f", "by": "there"})
    try:
        stores[0].start_background()
        stores[1].start_background([stores[0].addresses[0]], require_peers=1)
        for store in stores:
            store.flush_blocking(peers=1)
        heads = here.heads("f")
        assert sorted(head["by"] for head in heads) == ["here", "there"]
        assert there.heads("f") == heads
        assert here.load_state("f") == there.load_state("f") == heads[0]
        here.save_state("f", "step", {"id": "f", "by": "who saw both"})
        assert [head["by"] for head in here.heads("f")] == ["who saw both"]
    finally:
        for store in stores:
            store.close()


def test_as_many_earlier_states_are_kept_as_were_asked_for(store: AgentStateStore) -> None:
    persistence = PropagulFlowPersistence(store, keep=2)
    for number in range(4):
        persistence.save_state("a", f"step{number}", {"id": "a", "n": number})
        persistence.save_state("a/b", "other", {"id": "a/b"})
    assert [(past["method"], past["state"]["n"]) for past in persistence.past("a")] == [("step2", 2), ("step3", 3)]
    assert len(persistence.past("a/b")) == 2
    persistence.forget("a")
    assert (persistence.load_state("a"), persistence.past("a")) == (None, [])
    assert len(persistence.past("a/b")) == 2, "another flow's"


def test_a_flow_that_waits_for_a_person_is_resumed_on_another_machine(
    pair: tuple[AgentStateStore, AgentStateStore],
) -> None:
    here, there = (PropagulFlowPersistence(store) for store in pair)
    waiting = Review(persistence=here).kickoff(inputs={"id": "w"})
    assert isinstance(waiting, HumanFeedbackPending)
    pair[0].flush_blocking(peers=1)
    assert there.pending() == ["w"]
    resumed = Review.from_pending("w", there)
    assert resumed.resume("very good") == "the draft: very good"
    assert there.pending() == []
    assert there.load_pending_feedback("w") is None
    pair[1].flush_blocking(peers=1)
    assert here.pending() == []


def test_what_is_asked_comes_back_as_it_was(store: AgentStateStore) -> None:
    context = PendingFeedbackContext(
        flow_id="w", flow_class="m.Review", method_name="draft", method_output={"a": 1}, message="?", emit=["x", "y"]
    )
    persistence = PropagulFlowPersistence(store)
    persistence.save_pending_feedback("w", context, Report(id="w"))
    loaded = persistence.load_pending_feedback("w")
    assert loaded is not None
    assert loaded[1] == context
    assert loaded[0]["topic"] == "moss"
    assert persistence.load_state("w") == loaded[0], "the state was saved with it"
    persistence.clear_pending_feedback("w")
    assert persistence.load_pending_feedback("w") is None
    assert persistence.load_state("w") is not None


def test_it_can_be_made_again_of_what_crewai_writes_of_it(tmp_path: Path) -> None:
    first = PropagulFlowPersistence(str(tmp_path / "state"), keep=3)
    first.save_state("f", "step", {"id": "f"})
    dumped = first.model_dump(mode="json")
    again = _persistence_registry[dumped["persistence_type"]].model_validate(dumped)
    assert isinstance(again, PropagulFlowPersistence)
    assert (again.keep, again.load_state("f")) == (3, {"id": "f"})
    assert again.store is first.store, "one store a place"
    first.close()
    assert again.load_state("f") == {"id": "f"}, "whoever is left goes on"
    again.close()


def test_a_store_of_another_program_cannot_be_opened_by_its_name(store: AgentStateStore) -> None:
    dumped = PropagulFlowPersistence(store).model_dump(mode="json")
    assert PropagulFlowPersistence.model_validate(dumped).store is store
    gone = PropagulFlowPersistence.model_validate(dumped | {"conn_string": "open:agents/0"})
    with pytest.raises(LocalProtocolError, match="connection string"):
        gone.load_state("f")


def test_what_is_no_state_is_refused(store: AgentStateStore) -> None:
    persistence = PropagulFlowPersistence(store)
    with pytest.raises(ValueError, match="needs an `id`"):
        persistence.save_state("", "step", {})
    with pytest.raises(ValueError, match="not list"):
        persistence.save_state("f", "step", [1])  # type: ignore[arg-type]  # wrong on purpose
    store.set(f"{HEADS}f", "a secret that is no JSON")
    with pytest.raises(StoreError, match="none that this version can read") as raised:
        persistence.load_state("f")
    assert "secret" not in str(raised.value)


def test_it_is_crewais_default_where_it_is_told_to_be(store: AgentStateStore) -> None:
    from crewai.flow.persistence.factory import default_flow_persistence, set_flow_persistence_factory

    set_flow_persistence_factory(lambda: PropagulFlowPersistence(store))
    try:
        default = default_flow_persistence()
    finally:
        set_flow_persistence_factory(None)
    assert isinstance(default, PropagulFlowPersistence)
    assert default.store is store
