"""What one address shows after each outcome, without any network."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fleet_app.backends.conversation import Silence, Unanswered
from fleet_app.backends.ollama import Ollama
from fleet_app.backends.probe import Finding
from fleet_app.backends.signature import seen
from fleet_app.backends.watch import Watch
from fleet_app.presence import Model

URL = "http://127.0.0.1:11434"
FINDING = Finding(seen("ollama", URL, models=[Model(name="m:latest")], version="1"), Ollama())
REFUSED = Unanswered(Silence.REFUSED, "refused")
HUNG = Unanswered(Silence.HUNG, "no answer")
STRANGER = Unanswered(Silence.STRANGER, "something else", retryable=False)


def test_a_scanned_port_that_refuses_is_dropped_at_once() -> None:
    watch = Watch(url=URL)
    watch.saw(FINDING)
    watch.missed(REFUSED)
    assert watch.presence is None
    assert watch.signature is None
    assert watch.due()


@pytest.mark.parametrize("silence", [Silence.HUNG, Silence.BROKEN])
def test_a_scanned_port_that_hangs_stays_for_three_looks_and_advertises_nothing(silence: Silence) -> None:
    watch = Watch(url=URL)
    watch.saw(FINDING)
    for _ in range(3):
        watch.missed(Unanswered(silence, "no answer"))
        assert watch.presence == seen("ollama", URL, condition="unhealthy", reason="no answer", version="1")
    watch.missed(Unanswered(silence, "no answer"))
    assert watch.presence is None


def test_an_answer_in_between_starts_the_count_again() -> None:
    watch = Watch(url=URL)
    for _ in range(3):
        watch.saw(FINDING)
        watch.missed(HUNG)
        watch.missed(HUNG)
        watch.missed(HUNG)
    assert watch.presence is not None
    assert watch.presence.condition == "unhealthy"


def test_a_scanned_port_that_never_answered_shows_nothing() -> None:
    watch = Watch(url=URL)
    for error in (HUNG, REFUSED, STRANGER):
        watch.missed(error)
        assert watch.presence is None


def test_a_named_address_is_always_shown_with_the_reason() -> None:
    watch = Watch(url=URL, named=True)
    watch.missed(REFUSED)
    assert watch.presence == seen("unknown", URL, condition="unreachable", reason="refused")
    watch.saw(FINDING)
    for _ in range(9):
        watch.missed(HUNG)
    assert watch.presence == seen("ollama", URL, condition="unreachable", reason="no answer", version="1")


def test_a_named_address_taken_over_by_something_else_loses_its_kind() -> None:
    watch = Watch(url=URL, named=True)
    watch.saw(FINDING)
    watch.missed(STRANGER)
    assert watch.presence == seen("unknown", URL, condition="unhealthy", reason="something else")
    assert watch.due()


def test_strangers_on_scanned_ports_are_asked_ever_more_rarely_and_never_forgotten() -> None:
    watch = Watch(url=URL)
    asked = []
    for turn in range(120):
        if watch.due():
            asked.append(turn)
            watch.missed(STRANGER)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == [2, 3, 5, 9, 17, 25, 25, 25]


def test_a_port_that_answers_with_an_error_is_asked_again_at_once() -> None:
    watch = Watch(url=URL)
    watch.missed(Unanswered(Silence.STRANGER, "HTTP 502"))
    assert watch.due()


def test_a_key_is_not_shown_when_a_watch_is() -> None:
    assert "hunter2" not in repr(Watch(url=URL, api_key="hunter2"))


@pytest.mark.parametrize(("named", "error"), [(False, REFUSED), (False, STRANGER), (True, REFUSED), (True, STRANGER)])
def test_whoever_holds_an_engine_that_is_gone_sees_that_it_is(named: bool, error: Unanswered) -> None:  # noqa: FBT001
    watch = Watch(url=URL, named=named)
    watch.saw(FINDING)
    held = watch.engine
    assert held is not None
    assert held.seen.condition == "ready"
    watch.missed(error)
    assert held.seen.condition != "ready"
    assert held.seen.models == held.seen.can == ()
    watch.saw(FINDING)
    assert watch.engine is not None
    assert watch.engine.seen.condition == "ready"
