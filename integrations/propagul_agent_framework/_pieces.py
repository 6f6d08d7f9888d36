"""JSON in pieces, each stored once: what two checkpoints of a run have in common takes no room twice.

Every part of a checkpoint whose text is longer than `PIECE_CHARS` is a row of its own under the hash of that text, in
which longer parts within it are named by theirs in turn. A long list is cut where the hashes of its elements say, so
that one that grew shares all but its last cut with what it was; N messages in N checkpoints take O(N) of text.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from propagul_timeline import Texts, printed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propagul import AgentStateStore

PIECE_CHARS: Final = 128
_CUT_EVERY: Final = 8
"""Elements between cuts of a list, on average."""
_PIECE, _SPAN = "$piece", "$span"


class Pieces:
    """The pieces of one run, which are there as long as it is."""

    def __init__(self, store: AgentStateStore, rows: str, parts: str) -> None:
        self._store, self._rows, self._texts = store, rows, Texts(store, parts)

    def taken(self, form: object) -> str:
        """JSON in which what is long is named. The pieces are stored here, before any row that names them."""
        match form:
            case dict():
                return _object(f"{printed(name)}:{self._inner(one)}" for name, one in form.items())
            case list():
                return _array(self._cut([self._inner(one) for one in form]))
        return printed(form)

    def whole(self, form: object) -> object:
        """The inverse of `taken`, of what `json.loads` makes of it.

        Raises:
            LookupError: A piece is not here (yet).
        """
        match form:
            case {"$piece": str(name)}:
                return self.whole(self._piece(name))
            case dict():
                return {name: self.whole(one) for name, one in form.items()}
            case list():
                return [one for part in form for one in self._spanned(part)]
        return form

    def _spanned(self, part: object) -> list[object]:
        match part:
            case {"$span": str(name)}:
                inside = self._piece(name)
                return [one for each in inside for one in self._spanned(each)] if isinstance(inside, list) else []
        return [self.whole(part)]

    def _inner(self, form: object) -> str:
        text = self.taken(form)
        return self._named(_PIECE, text) if isinstance(form, (dict, list, str)) else text

    def _cut(self, elements: list[str]) -> list[str]:
        """The elements of a list with the longer stretches of them named, over and over."""
        while len(elements) > _CUT_EVERY and sum(map(len, elements)) > PIECE_CHARS:
            stretches: list[list[str]] = [[]]
            for one in elements:
                stretches[-1].append(one)
                if _hash(one)[0] % _CUT_EVERY == 0:
                    stretches.append([])
            done = [one for stretch in stretches[:-1] for one in self._stretch(stretch)] + stretches[-1]
            if len(done) == len(elements):
                break
            elements = done
        return elements

    def _stretch(self, elements: list[str]) -> list[str]:
        whole = _array(elements)
        return [self._named(_SPAN, whole)] if len(elements) > 1 and len(whole) > PIECE_CHARS else elements

    def _named(self, mark: str, text: str) -> str:
        if len(text) <= PIECE_CHARS:
            return text
        name = _hash(text).hex()
        if self._rows + name not in self._store:
            self._store.set(self._rows + name, self._texts.stored(text))
        return _object([f'"{mark}":"{name}"'])

    def _piece(self, name: str) -> object:
        text = self._texts.text(self._store.get(self._rows + name))
        if text is None:
            raise LookupError(name)
        return json.loads(text)


def _array(elements: Iterable[str]) -> str:
    return "[" + ",".join(elements) + "]"


def _object(members: Iterable[str]) -> str:
    return "{" + ",".join(members) + "}"


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
