"""JSON whose parts are stored once: a tree of pieces, each under the hash of what it holds.

What two values have in common has the same pieces. Anything longer than `PIECE_BYTES` is a piece of its own and stands
in what holds it as a reference. The entries of a long list or object stand in groups of `GROUP`, so that one more entry
changes the last group, and with it as many pieces as the tree is deep, whatever the length of the list.

A node is a scalar as it is; `{"l": nodes}` a list; `{"o": [[key, node], ...]}` an object; `{"r": hash}` a reference to
the piece with the node; `{"ls": nodes}` and `{"os": nodes}` what several nodes of that kind hold, one after the other.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from propagul import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE_BYTES = 256
GROUP = 16


def pack(value: object, put: Callable[[str, str], None]) -> str:
    """The JSON text of a value's node; its pieces go to `put`, by hash. O(length), each text is put together once."""
    match value:
        case dict():
            pairs = [f"[{json.dumps(key)},{pack(item, put)}]" for key, item in value.items()]
            return _referred(_grouped("o", pairs, put), put)
        case list():
            return _referred(_grouped("l", [pack(item, put) for item in value], put), put)
    return _referred(json.dumps(value), put)


def unpack(node: object, get: Callable[[str], str | None]) -> object:
    """The value of a node.

    Raises:
        StoreError: A piece is missing, or what is there is no node.
    """
    match node:
        case {"r": str(name)}:
            return unpack(_loaded(name, get), get)
        case {"o": list(pairs)}:
            return {key: unpack(item, get) for key, item in pairs}
        case {"l": list(items)}:
            return [unpack(item, get) for item in items]
        case {"os": list(groups)}:
            return {key: item for group in groups for key, item in _object(unpack(group, get)).items()}
        case {"ls": list(groups)}:
            return [item for group in groups for item in _list(unpack(group, get))]
        case dict() | list():
            raise StoreError("a checkpoint holds what this version cannot read")
    return node


def references(node: object, get: Callable[[str], str | None]) -> Iterator[str]:
    """The hashes of every piece that a node needs; those that are missing, too."""
    match node:
        case {"r": str(name)}:
            yield name
            if (text := get(name)) is not None:
                yield from references(json.loads(text), get)
        case {"o": list(pairs)}:
            for _, item in pairs:
                yield from references(item, get)
        case {"l": list(items)} | {"os": list(items)} | {"ls": list(items)}:
            for item in items:
                yield from references(item, get)


def _grouped(kind: str, texts: list[str], put: Callable[[str, str], None]) -> str:
    """A node of that kind, with the entries in groups if they are many."""
    while len(texts) > GROUP:
        groups = (texts[start : start + GROUP] for start in range(0, len(texts), GROUP))
        texts = [_referred(_node(kind, group), put) for group in groups]
        kind = f"{kind[0]}s"
    return _node(kind, texts)


def _node(kind: str, texts: list[str]) -> str:
    return f'{{"{kind}":[{",".join(texts)}]}}'


def _referred(text: str, put: Callable[[str, str], None]) -> str:
    """The text itself, or a reference to it if it is long."""
    if len(text) <= PIECE_BYTES:
        return text
    name = hashlib.sha256(text.encode()).hexdigest()[:40]
    put(name, text)
    return f'{{"r":"{name}"}}'


def _loaded(name: str, get: Callable[[str], str | None]) -> object:
    text = get(name)
    if text is None:
        raise StoreError("a part of this checkpoint is not here: somebody pruned while it was written")
    return json.loads(text)


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
