"""The state of one scope (an app, a user, a session): a row for each of its names, so that edits of several merge."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote

from propagul_timeline import Texts, path, printed
from pydantic_core import PydanticSerializationError, to_jsonable_python

if TYPE_CHECKING:
    from collections.abc import Mapping

    from propagul import AgentStateStore


class ScopedState:
    """Names and JSON values under a prefix; the parts of large values stand under another."""

    def __init__(self, store: AgentStateStore, rows: str, parts: str) -> None:
        self._store, self._rows, self._texts = store, rows, Texts(store, parts)

    def read(self) -> dict[str, object]:
        """All of it. A value that cannot be read is left out."""
        found: dict[str, object] = {}
        for key, held in self._store.items(self._rows):
            text = self._texts.text(held)
            try:
                found[unquote(key.removeprefix(self._rows))] = json.loads(text or "")
            except ValueError:
                continue
        return found

    def update(self, delta: Mapping[str, object]) -> None:
        """Write some of it, in the transaction of the caller."""
        for name, value in delta.items():
            key = self._rows + path(name)
            former = self._store.siblings(key)
            self._store.set(key, self._texts.stored(printed(as_json(value))))
            for held in former:
                self._texts.drop(held)


def as_json(value: object) -> object:
    """A value as it can be stored: like the kit's own services, the `repr` of what is no JSON."""
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return to_jsonable_python(value, serialize_unknown=True)
