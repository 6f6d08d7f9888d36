"""The package imports beside the framework that it is made for."""

from __future__ import annotations

import crewai
import propagul_crewai


def test_the_adapter_imports_beside_the_crewai_that_it_is_made_for() -> None:
    assert propagul_crewai.__doc__
    assert tuple(map(int, crewai.__version__.split(".")[:2])) >= (1, 15)
