"""Values of channels as references to content, and back, through the saver's serde."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from propagul_langgraph._saver import guard, lists
from propagul_langgraph._saver.content import ELEMENTS, INLINE_BYTES
from propagul_langgraph._saver.elements import Element

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from langgraph.checkpoint.serde.base import SerializerProtocol

    from propagul_langgraph._saver.content import Content, Ref
    from propagul_langgraph._saver.keys import Place
    from propagul_langgraph._saver.lists import ListVersion

_MSGPACK: Final = "msgpack"


class Values:
    """Stores and reads values of one place.

    Args:
        content: Where the rows are.
        place: Whose they are.
        serde: Makes bytes of values.
    """

    __slots__ = ("_content", "_serde", "is_plain", "place")

    def __init__(self, content: Content, place: Place, serde: SerializerProtocol) -> None:
        self._content, self.place, self._serde = content, place, serde
        self.is_plain = isinstance(serde, JsonPlusSerializer)
        """Whether equal values have equal bytes, and the bytes of a list are those of its elements after a header."""

    # --- storing -------------------------------------------------------------------------------------------------

    def put(self, value: object, *, inline: int = INLINE_BYTES, known: AbstractSet[object] = frozenset()) -> Ref:
        """Store a value as it is; with `known`, references to content that need not be stored again."""
        kind, data = self._serde.dumps_typed(value)
        return self._content.put(self.place, kind, data, inline=inline, known=known)

    def put_write(self, value: object) -> Ref:
        """Store what a task wrote: a list by its elements, which the channel is going to share."""
        if not lists.is_split(value):
            return self.put(value)
        return [ELEMENTS, [self.put_element(element).ref for element in cast("list[object]", value)]]

    def put_element(self, value: object, known: AbstractSet[object] = frozenset()) -> Element:
        """Store an element of a list, unless that was done just now; see `put`."""
        state, elements = guard.state_of(value), self._content.elements
        if (element := elements.find(self.place, value, state)) is None:
            element = Element(self.put(value, known=known), guard.kept(state))
            elements.add(self.place, value, element)
        return element

    def put_list(self, before: ListVersion, value: list[object]) -> tuple[Ref, ListVersion]:
        """Store a list as what follows an earlier version of it."""
        version = lists.following(before, value, self.put_element)
        return lists.write(self._content, self.place, version)

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, ref: object) -> object:
        """The value that a reference leads to.

        Raises:
            MissingContent: Some of it is not here.
            StoreCorrupt: It is no reference.
        """
        version = self.version(ref)
        return self._many(version.refs) if version is not None else self._loaded(self._content.get(self.place, ref))

    def get_list(self, version: ListVersion) -> tuple[list[object], ListVersion]:
        """The elements of a list, and its version as `put_list` may follow it."""
        elements = self._many(version.refs)
        return elements, version if self.is_plain else lists.remembered(version, elements)

    def version(self, ref: object) -> ListVersion | None:
        """The list that a reference leads to; None if it leads to something else."""
        return lists.read(self._content, self.place, ref)

    def _many(self, refs: Sequence[object]) -> list[object]:
        """The values of many references, in one go where that is possible."""
        found = self._content.get_many(self.place, refs)
        if self.is_plain and all(kind == _MSGPACK for kind, _ in found):
            joined = _array_header(len(found)) + b"".join([data for _, data in found])
            return cast("list[object]", self._serde.loads_typed((_MSGPACK, joined)))
        return [self._loaded(one) for one in found]

    def _loaded(self, content: tuple[str, bytes]) -> object:
        return self._serde.loads_typed(content)


def _array_header(count: int) -> bytes:
    """How the msgpack of a list with so many elements begins."""
    return bytes([0x90 | count]) if count < 16 else b"\xdd" + count.to_bytes(4, "big")
