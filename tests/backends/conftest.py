"""A machine under load is no engine that hangs: engines answer from this machine here, late at worst."""

from __future__ import annotations

import pytest

from fleet_app.backends import conversation, probe


@pytest.fixture(autouse=True)
def _answers_may_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer than a node does for an answer; a test of an engine that hangs sets a limit of its own."""
    monkeypatch.setattr(conversation, "ANSWER_TIMEOUT_S", 20.0)
    monkeypatch.setattr(probe, "LOOK_TIMEOUT_S", 60.0)
