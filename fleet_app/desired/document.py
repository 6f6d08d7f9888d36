"""`fleet.yaml`: what should be there, read with the line of everything that is wrong.

YAML 1.2: `yes`, `on` and `1e3` are text, and only `true`, `false`, `null` and plain numbers are not. Unknown words are
errors with the nearest known one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet_app.desired.fields import IN_FILES, NAME_CHARACTERS_MAX, TABLES, Table, is_key, is_name
from fleet_app.errors import ConfigError, did_you_mean
from fleet_app.yaml_nodes import composed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

FILE_BYTES_MAX: Final = 1 << 20
_DEPTH_MAX: Final = 8
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,32}(?:[eE][-+]?[0-9]{1,3})?")
_TAGS: Final = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "bool", "int", "float", "null", "timestamp", "map", "seq")
}
_WORDS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Written(NamedTuple):
    """A value and the line where it stands."""

    value: object
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a file declares.

    Attributes:
        name: What complaints call the file.
        models: Fields by the model's name; a field that is a mapping holds its keys.
        nodes: The same, by what the file calls the node.
        settings: The fleet's.
        lines: Where each name stands, by table and name.
    """

    name: str
    models: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def where(self, table: Table, name: str) -> str:
        """The head of a complaint about a name."""
        return f"{self.name}:{self.lines.get((table, name), 1)}: {table}.{name}"


def parse(content: bytes, name: str) -> Document:
    """Read a document.

    Raises:
        ConfigError: Something in it is wrong; one line that begins with the file's name and the line.
    """
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{name}: is over {FILE_BYTES_MAX} bytes")
    return _Reader(name).document(composed(content, name))


class _Reader:
    """Walks one file's nodes; every complaint begins with the file and the line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[tuple[str, str], int] = {}

    def document(self, root: Node | None) -> Document:
        tables: dict[str, dict[str, dict[str, object]]] = {"models": {}, "nodes": {}}
        settings: dict[str, object] = {}
        for word, _, value in self._entries(root, "the file", [*TABLES]):
            if word == "settings":
                settings = self._fields("settings", "", value)
                continue
            table = cast("Table", word)
            for entry, node, body in self._entries(value, word, None):
                if not is_name(entry):
                    raise self._wrong(node, f"{word}: a name has 1 to {NAME_CHARACTERS_MAX} printable characters")
                self._lines[word, entry] = node.start_mark.line + 1
                tables[word][entry] = self._fields(table, entry, body)
        return Document(self._name, tables["models"], tables["nodes"], settings, self._lines)

    def _fields(self, table: Table, name: str, body: Node) -> dict[str, object]:
        where = ".".join(part for part in (table, name) if part)
        found: dict[str, object] = {}
        for word, key, value in self._entries(body, where, IN_FILES[table]):
            known = TABLES[table][word]
            if known.open_keys:
                found[word] = {
                    entry: self._checked(f"{where}.{word}.{entry}", node, self._plain(inner), table, word)
                    for entry, node, inner in self._entries(value, f"{where}.{word}", None)
                    if self._is_key(word, entry, node, where)
                }
            else:
                found[word] = self._checked(f"{where}.{word}", key, self._plain(value), table, word)
        return found

    def _checked(self, where: str, node: Node, value: object, table: Table, field: str) -> object:
        try:
            return TABLES[table][field].read(value)
        except ValueError as error:
            raise self._wrong(node, f"{where} {error}") from None

    def _is_key(self, field: str, key: str, node: Node, where: str) -> bool:
        if not is_key(field, key):
            raise self._wrong(node, f"{where}.{field}: {key[:64]!r} is no name; use letters, digits, . _ and -")
        return True

    def _entries(
        self, node: Node | None, where: str, known: Collection[str] | None
    ) -> Iterator[tuple[str, Node, Node]]:
        """Keys with the nodes of key and value; an empty value has none."""
        if node is None or _is_null(node):
            return
        if not isinstance(node, MappingNode):
            raise self._wrong(node, f"{where}: write `key: value`, one a line")
        seen: set[str] = set()
        for key, value in node.value:
            word = str(key.value) if isinstance(key, ScalarNode) else ""
            if not word or (known is not None and word not in known):
                raise self._wrong(key, f"{where}: {word[:64]!r} is no word here{did_you_mean(word, known or ())}")
            if word in seen:
                raise self._wrong(key, f"{where}: {word[:64]!r} stands here a second time; keep one")
            seen.add(word)
            yield word, key, value

    def _plain(self, node: Node, depth: int = 0) -> object:
        if depth > _DEPTH_MAX:
            raise self._wrong(node, "nested too deeply")
        if str(node.tag) not in _TAGS:
            raise self._wrong(node, "a value has no tag of its own here")
        if isinstance(node, SequenceNode):
            return [self._plain(item, depth + 1) for item in node.value]
        if isinstance(node, MappingNode):
            return {word: self._plain(value, depth + 1) for word, _, value in self._entries(node, "here", None)}
        assert isinstance(node, ScalarNode)
        return _scalar(node)

    def _wrong(self, node: Node, words: str) -> ConfigError:
        return ConfigError(f"{self._name}:{node.start_mark.line + 1}: {words}")


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and _scalar(node) is None


def _scalar(node: ScalarNode) -> object:
    """The core schema of YAML 1.2, less what people mean as text: octal, hexadecimal, infinities, `1e3`."""
    text = str(node.value)
    if node.style in {"'", '"', "|", ">"}:
        return text
    if text.casefold() in _WORDS and text in {text.lower(), text.upper(), text.capitalize()}:
        return _WORDS[text.casefold()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
