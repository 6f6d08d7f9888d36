"""Texts in rows: a short one as it is, a long one in parts that are written before the row that names them.

A row holds a text, or `[token, count]`: so many parts at `<prefix><token>/<number>`. The token is new for each writing,
so parts of texts that replicas write at once never mix. Whoever sees the row sees its parts, here and on every machine:
order of writes is order of visibility. Parts go after the row that named them. A process that is killed between the
two leaves parts that no row names: they cost space and nothing else.
"""

from __future__ import annotations

import json
import secrets
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from propagul.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propagul import AgentStateStore

PART_CHARS: Final = 128 * 1024
"""Of a text in one row; at most half a MiB in UTF-8, which a store's default limits allow."""
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ASCII: Final = json.JSONEncoder(separators=(",", ":"))
_locks: Final = [threading.Lock() for _ in range(64)]


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
    """Texts whose parts stand under a prefix. Any thread.

    Rows of one text each are read and written by key. Where a row holds more than a text, it holds what `stored` gives,
    and is the caller's to write and to remove.
    """

    def __init__(self, store: AgentStateStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    # --- rows of one text each -----------------------------------------------------------------------------------

    def put(self, key: str, text: str) -> None:
        """Put a text under a key, in the place of all that is seen there.

        Raises:
            PropagulError, ValueError: As `AgentStateStore.set`.
        """
        with _locks[hash(key) % len(_locks)]:  # or of two threads, neither would remove the other's parts
            former = self._store.siblings(key)
            self._store.set(key, self.stored(text))
            for held in former:
                self.drop(held)

    def get(self, key: str) -> str | None:
        """The text of a key; None if there is none.

        Raises:
            StoreError: What is stored there is no text, or a part of it is missing.
        """
        for text in self.siblings(key):
            if text is None:
                raise StoreError(f"what is stored under {key!r} is no text, or a part of it is missing")
            return text
        return None

    def siblings(self, key: str) -> list[str | None]:
        """The text of a key and those that were written concurrently; None for each that is none, or lacks a part."""
        while True:
            held = self._store.siblings(key)
            texts = [self.text(one) for one in held]
            if None not in texts or repr(held) == repr(self._store.siblings(key)):  # or it was replaced meanwhile
                return texts

    def items(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Keys under a prefix with their texts, all of one instant but for long ones that are replaced meanwhile.

        What is no text is left out.
        """
        for key, held in self._store.items(prefix):
            text = self.text(held)
            for now in [text] if text is not None else self.siblings(key)[:1]:
                if now is not None:
                    yield key, now

    def remove(self, key: str) -> bool:
        """Remove a key with its parts; return whether it was there."""
        with _locks[hash(key) % len(_locks)]:
            former = self._store.siblings(key)
            was_there = self._store.delete(key)
            for held in former:
                self.drop(held)
        return was_there

    # --- texts in the caller's rows ------------------------------------------------------------------------------

    def stored(self, text: str) -> str | list[str | int]:
        """What a row of a text holds. The parts of a long one are written here, in the transaction of the caller."""
        if len(text) <= PART_CHARS:
            return text
        token = secrets.token_hex(8)
        parts = [text[start : start + PART_CHARS] for start in range(0, len(text), PART_CHARS)]
        for number, part in enumerate(parts):
            self._store.set(self._key(token, number), part)
        return [token, len(parts)]

    def text(self, held: object) -> str | None:
        """The text of what `stored` gave; None if that is none, or lacks a part, being removed just now."""
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
        """Remove the parts of what `stored` gave, when the row that held it is gone."""
        match held:
            case [str(token), int()]:
                for key in self._store.keys(f"{self._prefix}{token}/"):
                    self._store.delete(key)

    def _key(self, token: str, number: int) -> str:
        return f"{self._prefix}{token}/{number:06x}"
