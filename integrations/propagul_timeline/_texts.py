"""Texts in rows: a short one as it is, a long one in parts that are written before the row that names them.

A row is a text, or `[token, count]`: so many parts at `<prefix><token>/<number>`. The token is new for each writing, so
that parts of texts which replicas write at once never mix.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from propagul import AgentStateStore

PART_CHARS: Final = 128 * 1024
"""Of a text in one row; at most half a MiB in UTF-8, which a store's default limits allow."""
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ASCII: Final = json.JSONEncoder(separators=(",", ":"))


def path(*names: str) -> str:
    """Names as one part of a key each: none of them is taken for another, whatever is in it."""
    return "/".join(quote(name, safe="") for name in names)


def printed(value: object) -> str:
    """A value as JSON that UTF-8 can write.

    Raises:
        TypeError, ValueError: It is not JSON.
    """
    text = _JSON.encode(value)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON has an escape for
        return _ASCII.encode(value)
    return text


class Texts:
    """Texts whose parts stand under a prefix."""

    def __init__(self, store: AgentStateStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def stored(self, text: str) -> str | list[str | int]:
        """What the row of a text holds. The parts of a long one are written here, in the transaction of the caller."""
        if len(text) <= PART_CHARS:
            return text
        token = secrets.token_hex(8)
        parts = [text[start : start + PART_CHARS] for start in range(0, len(text), PART_CHARS)]
        for number, part in enumerate(parts):
            self._store.set(self._key(token, number), part)
        return [token, len(parts)]

    def text(self, held: object) -> str | None:
        """The text of a row; None if that is none, or lacks a part, being removed just now."""
        match held:
            case str():
                return held
            case [str(token), int(count)]:
                parts: list[str] = []
                while len(parts) < count and isinstance(part := self._store.get(self._key(token, len(parts))), str):
                    parts.append(part)
                return "".join(parts) if len(parts) == count else None
        return None

    def drop(self, held: object) -> None:
        """Remove the parts of a row that is gone."""
        match held:
            case [str(token), int()]:
                for key in self._store.keys(f"{self._prefix}{token}/"):
                    self._store.delete(key)

    def _key(self, token: str, number: int) -> str:
        return f"{self._prefix}{token}/{number:06x}"
