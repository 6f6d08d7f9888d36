"""CrewAI's checkpoints go into a store, are restored from it, and a restored crew writes on where it should."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from crewai import Crew
from crewai.agents.agent_builder import base_agent
from crewai.events.event_bus import crewai_event_bus
from crewai.state.checkpoint_config import CheckpointConfig
from crewai.state.provider.json_provider import JsonProvider
from propagul_crewai import PropagulCheckpointProvider

from propagul import StoreError
from tests.agents.crewai.models import CountedModel, PowerCutError, parts
from tests.store.world import often_switching

if TYPE_CHECKING:
    from propagul import AgentStateStore

INPUTS = {"whom": "Ann"}
HERE = "reports"


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong here is written into the working directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountedModel:
    """A model of a kind that CrewAI can restore."""
    monkeypatch.setitem(
        base_agent._LLM_TYPE_REGISTRY, "counted", f"{CountedModel.__module__}.{CountedModel.__qualname__}"
    )
    return CountedModel(model="counted", calls=str(tmp_path / "calls"))


def interrupted(provider: PropagulCheckpointProvider, model: CountedModel) -> None:
    """A crew that writes two checkpoints and dies in its third task.

    CrewAI writes them beside the crew and loses one, now and then, when an event comes in meanwhile; then it is tried
    again.
    """
    model.dies_at = 3
    for _ in range(10):
        provider.prune(HERE, 0)
        Path(model.calls).unlink(missing_ok=True)
        crew = Crew(**parts(model), checkpoint=CheckpointConfig(location=HERE, provider=provider))
        with pytest.raises(PowerCutError):
            crew.kickoff(INPUTS)
        crewai_event_bus.flush()
        if len(provider.store.keys("crewai/checkpoint/at/")) == 2:
            return
    pytest.fail("CrewAI lost a checkpoint ten times")


def revived(checkpoint: Path, provider: PropagulCheckpointProvider) -> None:
    """Have the model of a checkpoint work again: it is restored as it was, and it was dead."""
    text = checkpoint.read_text()
    assert '"dies_at": 3' in text
    checkpoint.write_text(text.replace('"dies_at": 3', '"dies_at": 0'))
    assert provider.extract_id(str(checkpoint))


def test_a_crew_is_restored_on_another_machine_and_writes_on_into_the_store(
    pair: tuple[AgentStateStore, AgentStateStore], model: CountedModel, tmp_path: Path
) -> None:
    here, there = map(PropagulCheckpointProvider, pair)
    interrupted(here, model)
    pair[0].flush_blocking(peers=1)
    before, written = model.made(), there.store.keys("crewai/checkpoint/at/")
    assert len(written) == 2
    with there.restoring(HERE) as config:
        assert isinstance(config.restore_from, Path)
        revived(config.restore_from, there)
        result = Crew(**parts(model)).kickoff(from_checkpoint=config)
    assert not config.restore_from.exists()
    assert [output.raw for output in result.tasks_output] == [f"all about topic-{number}" for number in range(3)]
    assert model.made()[len(before) :] == ["topic-2"]
    after = there.store.keys("crewai/checkpoint/at/")
    assert len(after) == 3
    (head,) = there.heads(HERE)
    assert head.endswith(after[-1].rpartition("/")[2])
    assert json.loads(there.from_checkpoint(head))["parent_id"] == written[-1].rpartition("/")[2]
    assert list((tmp_path / "work").iterdir()) == [], "nothing went into a directory"


def test_a_crew_restored_by_hand_does_not_write_into_a_directory(
    store: AgentStateStore, model: CountedModel, tmp_path: Path
) -> None:
    provider = PropagulCheckpointProvider(store)
    interrupted(provider, model)
    with provider.restoring(HERE) as config:
        assert isinstance(config.restore_from, Path)
        revived(config.restore_from, provider)
        crew = Crew.from_checkpoint(config)
    assert crew.checkpoint is None
    crew.kickoff()
    assert list((tmp_path / "work").iterdir()) == []


def test_crewai_takes_the_provider_as_it_is(store: AgentStateStore) -> None:
    provider = PropagulCheckpointProvider(store)
    assert isinstance(provider, JsonProvider)
    config = CheckpointConfig(location=HERE, provider=provider)
    assert config.provider is provider
    assert config.model_copy(update={"restore_from": None}).provider is provider


def test_a_checkpoint_comes_back_as_it_was(store: AgentStateStore) -> None:
    provider = PropagulCheckpointProvider(store)
    data = json.dumps({"entities": [{"text": "x" * 3_000_000}], "event_record": {"nodes": {}}})
    at = provider.checkpoint(data, "a/b", parent_id="p", branch="fork/1")
    assert json.loads(provider.from_checkpoint(at)) == json.loads(data)
    assert asyncio.run(provider.afrom_checkpoint(asyncio.run(provider.acheckpoint(data, HERE)))) == json.dumps(
        json.loads(data)
    )
    assert provider.heads("a/b", "fork/1") == [at]
    assert provider.heads("a/b") == provider.heads("a") == []
    with pytest.raises(StoreError, match="no checkpoint"):
        provider.from_checkpoint(at + "0")
    with pytest.raises(ValueError, match="not what `checkpoint` returned"):
        provider.from_checkpoint("reports")
    with pytest.raises(StoreError, match="no checkpoint"), provider.restoring("nowhere"):
        pass


def test_two_that_went_on_from_one_checkpoint_are_two_heads(store: AgentStateStore) -> None:
    provider = PropagulCheckpointProvider(store)
    root = provider.checkpoint("{}", HERE)
    twins = [provider.checkpoint("{}", HERE, parent_id=provider.extract_id(root)) for _ in range(2)]
    assert provider.heads(HERE) == twins[::-1]


def test_what_is_laid_out_is_for_its_owner_only_and_says_nothing_of_this_place(
    store: AgentStateStore, tmp_path: Path
) -> None:
    provider = PropagulCheckpointProvider(store)
    written: dict[str, Any] = {
        "entities": [{"checkpoint": {"location": HERE}, "agents": [{"checkpoint": {"location": "elsewhere"}}]}]
    }
    at = provider.checkpoint(json.dumps(written), HERE, parent_id="p")
    path = provider.materialize(at, tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    entity = json.loads(path.read_text())["entities"][0]
    assert entity == {"checkpoint": None, "agents": [{"checkpoint": {"location": "elsewhere"}}]}
    assert JsonProvider().extract_id(str(path)) == provider.extract_id(at), "the next one names it as its parent"


def test_pruning_keeps_the_last_ones_whole_and_leaves_nothing_of_the_others(store: AgentStateStore) -> None:
    mine, other = PropagulCheckpointProvider(store), PropagulCheckpointProvider(store)
    documents = [json.dumps({"common": "c" * 1000, "own": str(number) * 1000}) for number in range(4)]
    others = other.checkpoint(documents[0], HERE)
    written = [mine.checkpoint(document, HERE) for document in documents]
    kept = mine.checkpoint(documents[0], HERE, branch="kept")
    assert mine.prune(HERE, 2) == 3
    for at, document in ((written[2], 2), (written[3], 3), (kept, 0)):
        assert json.loads(mine.from_checkpoint(at)) == json.loads(documents[document])
    for at in (others, *written[:2]):
        with pytest.raises(StoreError):
            mine.from_checkpoint(at)
    assert len(store.keys("crewai/checkpoint/piece/")) == 1 + 3, "the common part, and the own one of each"
    assert mine.prune(HERE, 0) == 2
    assert mine.prune(HERE, 0, branch="kept") == 1
    assert store.keys("crewai/checkpoint/") == []
    again = mine.checkpoint(documents[1], HERE)
    assert json.loads(mine.from_checkpoint(again)) == json.loads(documents[1]), "what was swept is written again"


def test_what_is_written_while_another_thread_prunes_is_whole(store: AgentStateStore) -> None:
    provider, data = PropagulCheckpointProvider(store), json.dumps({str(number): "x" * 500 for number in range(20)})
    with often_switching(), ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            written = pool.submit(provider.checkpoint, data, HERE)
            pool.submit(provider.prune, HERE, 0).result()
            written.result()
            assert [json.loads(provider.from_checkpoint(at)) for at in provider.heads(HERE)] in ([], [json.loads(data)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_has_pieces_of_its_own(tmp_path: Path) -> None:
    with PropagulCheckpointProvider(tmp_path / "state") as provider:
        if (child := os.fork()) == 0:
            provider.checkpoint(json.dumps(["x" * 500]), HERE)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        provider.checkpoint(json.dumps(["x" * 500]), HERE)
    with PropagulCheckpointProvider(tmp_path / "state") as provider:
        assert len(provider.store.keys("crewai/checkpoint/at/")) == 2
        assert len({key.split("/")[-2] for key in provider.store.keys("crewai/checkpoint/piece/")}) == 2


def test_crewai_prunes_as_it_was_told(store: AgentStateStore, model: CountedModel) -> None:
    provider = PropagulCheckpointProvider(store)
    config = CheckpointConfig(location=HERE, provider=provider, max_checkpoints=1)
    Crew(**parts(model), checkpoint=config).kickoff(INPUTS)
    assert len(store.keys("crewai/checkpoint/at/")) == 1
    assert provider.from_checkpoint(provider.heads(HERE)[0])


def test_many_checkpoints_of_a_crew_cost_little_more_than_one(store: AgentStateStore, model: CountedModel) -> None:
    provider = PropagulCheckpointProvider(store)
    config = CheckpointConfig(location=HERE, provider=provider)
    Crew(**parts(model, topics=8), checkpoint=config).kickoff(INPUTS)
    rows = store.get_all("crewai/checkpoint/")
    whole = [len(provider.from_checkpoint(f"{HERE}/main/{key.rpartition('/')[2]}")) for key in rows if "/at/" in key]
    held = sum(len(str(value)) for value in rows.values())
    assert len(whole) > 4, "CrewAI loses one now and then"
    assert held < 1.5 * max(whole)
    assert held < sum(whole) / 3
