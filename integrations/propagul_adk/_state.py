"""The state of one scope (an app, a user, a session): a row for each of its names, so that edits of several merge."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic_core import PydanticSerializationError, to_jsonable_python

from propagul.adapters import Texts, path, printed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul import AgentStateStore


class ScopedState:
    """Names and JSON values under a prefix; the parts of large values stand under another."""

    def __init__(self, store: AgentStateStore, rows: str, parts: str) -> None:
        self._rows, self._texts = rows, Texts(store, parts)

    def read(self) -> dict[str, object]:
        """All of it. A value that cannot be read is left out."""
        found: dict[str, object] = {}
        for key, text in self._texts.items(self._rows):
            with contextlib.suppress(ValueError):
                found[unquote(key.removeprefix(self._rows))] = json.loads(text)
        return found

    def update(self, delta: Mapping[str, object]) -> None:
        """Write some of it, in the transaction of the caller."""
        for name, value in delta.items():
            self._texts.put(self._rows + path(name), printed(as_json(value)))


def as_json(value: object) -> object:
    """A value as it can be stored: like the kit's own services, the `repr` of what is no JSON."""
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return to_jsonable_python(value, serialize_unknown=True)
