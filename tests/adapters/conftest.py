"""The store that the tests of adapters have."""

from tests.agents.conftest import store  # noqa: F401 - a fixture is found by its name
