"""What a row carries: an immutable scalar, or a container in its packed form.

Scalars stay as they are until log or wire need their bytes; lists, dicts and datetimes are packed once, when they are
written, so that nobody can change what is stored. Nothing here looks inside a payload.
"""

from __future__ import annotations

from typing import Final

from propagul.crdt.twins import lean


@lean
class Packed(bytes):
    """Canonical msgpack of a list, a dict or a datetime. Checked to be one whole object before it is made."""

    __slots__ = ()


class Keep(int):
    """Instead of a payload: keep the `int(keep)` highest siblings and remove the others."""

    __slots__ = ()


class Remove:
    """Instead of a payload: remove every sibling."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: Final = Remove()


class Absent:
    """Instead of a payload: there is none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Evicted(int):
    """Instead of a payload: a number by which it is found again. Whoever evicts payloads subclasses it.

    It is never packed: who sends or shows a row reads the payload first.
    """

    __slots__ = ()

    def read(self) -> Payload:
        """The payload."""
        raise NotImplementedError


Payload = None | bool | int | float | str | bytes
"""What a sibling holds; a `Packed` is a `bytes`, an `Evicted` an `int`."""

Action = Payload | Keep | Remove
"""What an operation does to a key: write a payload, or remove siblings."""


Found = Payload | Absent
"""What looking a key up gives."""
