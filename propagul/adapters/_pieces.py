"""JSON in pieces, each stored once: what two values have in common takes no room twice.

Whatever part of a value is longer than `PIECE_CHARS` as text is a row of its own under the hash of that text, in which
longer parts within it are named in turn. A long list or object is cut where the hashes of its entries say, so that one
that grew or lost its beginning shares all other cuts with what it was: N entries in N values take O(N) of text.

`"~=<hash>"` stands for the piece of that hash. `"~*<hash>"`, as an entry of a list or a name in an object, stands for
all entries of that piece. Text that begins with `~` has another one before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final, TypeVar

from propagul.adapters._texts import printed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul import AgentStateStore
    from propagul.adapters._texts import Texts

PIECE_CHARS: Final = 128
_CUT_EVERY: Final = 8
"""Entries between cuts, on average."""
_NAME: Final = re.compile(r'"~[=*]([0-9a-f]{32})"')
_LIST, _OBJECT = "[]", "{}"
_UNKNOWN: Final = "JSON in pieces of a form that this version does not know"

_T = TypeVar("_T")


class Pieces:
    """Pieces under a prefix. They are there until the caller removes them, by `Texts.remove`.

    Args:
        store: Where they are kept.
        rows: What their keys begin with.
        texts: Who keeps long ones.
    """

    def __init__(self, store: AgentStateStore, rows: str, texts: Texts) -> None:
        self._store, self._rows, self._texts = store, rows, texts

    def taken(self, value: object) -> str:
        """JSON in which what is long is named. The pieces are stored here, before any row that names them.

        Raises:
            TypeError, ValueError: It is not JSON.
        """
        match value:
            case dict():
                members = [f"{printed(_escaped(name))}:{self._inner(one)}" for name, one in value.items()]
                return _joined(_OBJECT, self._cut(_OBJECT, members))
            case list():
                return _joined(_LIST, self._cut(_LIST, [self._inner(one) for one in value]))
            case str():
                return printed(_escaped(value))
        return printed(value)

    def whole(self, text: str) -> object:
        """The inverse of `taken`.

        Raises:
            LookupError: A piece is not here (yet).
            ValueError, RecursionError: That is not what `taken` gives.
        """
        return self._whole(json.loads(text))

    def names(self, texts: Iterable[str]) -> set[str]:
        """The hashes of all pieces that these need; those that are missing, too."""
        found, waiting = set[str](), list(texts)
        while waiting:
            more = set(_NAME.findall(waiting.pop())) - found
            found |= more
            waiting += [text for name in more if (text := self._text(name)) is not None]
        return found

    def _whole(self, form: object) -> object:
        match form:
            case str():
                return self._piece(form) if form.startswith("~=") else _bare(form)
            case dict():
                members: dict[str, object] = {}
                for name, one in form.items():
                    members |= self._span(name, dict) if name.startswith("~*") else {_bare(name): self._whole(one)}
                return members
            case list():
                entries: list[object] = []
                for one in form:
                    is_span = isinstance(one, str) and one.startswith("~*")
                    entries += self._span(one, list) if is_span else [self._whole(one)]
                return entries
        return form

    def _span(self, reference: str, kind: type[_T]) -> _T:
        inside = self._piece(reference)
        if not isinstance(inside, kind):
            raise ValueError(_UNKNOWN)  # noqa: TRY004 - read, not given
        return inside

    def _inner(self, value: object) -> str:
        text = self.taken(value)
        return self._named("~=", text) if isinstance(value, (dict, list, str)) and len(text) > PIECE_CHARS else text

    def _cut(self, brackets: str, entries: list[str]) -> list[str]:
        """Entries with the longer stretches of them named, over and over."""
        while len(entries) > _CUT_EVERY and sum(map(len, entries)) > PIECE_CHARS:
            stretches: list[list[str]] = [[]]
            for one in entries:
                stretches[-1].append(one)
                if _hash(one)[0] % _CUT_EVERY == 0:
                    stretches.append([])
            *ended, last = stretches
            done = [one for stretch in ended for one in self._stretch(brackets, stretch)] + last
            if len(done) == len(entries):
                break
            entries = done
        return entries

    def _stretch(self, brackets: str, entries: list[str]) -> list[str]:
        text = _joined(brackets, entries)
        if len(entries) == 1 or len(text) <= PIECE_CHARS:
            return entries
        return [self._named("~*", text) + (":0" if brackets == _OBJECT else "")]

    def _named(self, mark: str, text: str) -> str:
        name = _hash(text).hex()
        if self._rows + name not in self._store:
            self._texts.put(self._rows + name, text)
        return f'"{mark}{name}"'

    def _piece(self, reference: str) -> object:
        text = self._text(reference[2:])
        if text is None:
            raise LookupError(reference)
        return self.whole(text)

    def _text(self, name: str) -> str | None:
        return next((text for text in self._texts.siblings(self._rows + name) if text is not None), None)


def _escaped(text: str) -> str:
    return f"~{text}" if text.startswith("~") else text


def _bare(text: str) -> str:
    if not text.startswith("~"):
        return text
    if not text.startswith("~~"):
        raise ValueError(_UNKNOWN)
    return text[1:]


def _joined(brackets: str, entries: list[str]) -> str:
    return f"{brackets[0]}{','.join(entries)}{brackets[1]}"


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
