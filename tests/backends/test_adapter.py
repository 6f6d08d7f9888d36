"""What counts as a token, a vector or a score."""

from __future__ import annotations

import pytest

from fleet_app.backends.adapter import _brings_something


@pytest.mark.parametrize(
    ("answer", "speaks"),
    [
        ({"choices": [{"message": {"content": "one"}}], "usage": {"completion_tokens": 1}}, True),
        ({"choices": [{"message": {"content": ""}}], "usage": {"completion_tokens": 0}}, False),
        ({"choices": [{"text": "one"}]}, True),
        ({"choices": []}, False),
        ({"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}, True),
        ({"data": []}, False),
        ({"results": [{"index": 0, "relevance_score": 0.5}]}, True),
        ({"choices": 5, "data": "x", "usage": []}, False),
        ({}, False),
    ],
)
def test_an_answer_without_anything_in_it_is_no_sign_of_life(answer: dict[str, object], *, speaks: bool) -> None:
    assert _brings_something(answer) == speaks
