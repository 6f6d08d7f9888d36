"""Python values as JSON and back, for checkpoints: no pickle, and no class that is not on the list.

What JSON has stands as it is; the rest is an object with one name that begins with `$`, and so does no dict here. Of a
class that is listed the attributes are kept, of the framework's messages and contents what their `to_dict` says. A
class is looked up among those listed and, for enums, dataclasses and messages, in the framework's modules that are
loaded. Nothing is ever imported, and no code runs but `from_dict`, `model_validate` and an enum's lookup. The rule of
this file: what `decode` returns equals what `encode` was given, or `encode` has refused it.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import math
import operator
import sys
import types
import typing
import uuid
from typing import TYPE_CHECKING, Final

from agent_framework import Content, WorkflowCheckpointException, WorkflowEvent
from agent_framework._serialization import SerializationMixin
from pydantic import BaseModel

from propagul.adapters import printed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_FRAMEWORK: Final = "agent_framework."
_SAYERS: Final = (SerializationMixin, Content)
_SAYING: Final = "agent_framework._types:"
"""Where those of the framework stand that `from_dict` is called on."""
_PLAIN: Final = (str, int, float, bool, bytes, list, dict, tuple, set, frozenset, object, types.NoneType, uuid.UUID)
_PLAIN_BY_NAME: Final = {one.__qualname__: one for one in (*_PLAIN, dt.datetime, dt.date, decimal.Decimal)}
_BY_TEXT: Final[dict[type, tuple[str, Callable[[typing.Any], object], Callable[[typing.Any], object]]]] = {
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    dt.datetime: ("$datetime", dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: ("$date", dt.date.isoformat, dt.date.fromisoformat),
    dt.time: ("$time", dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: (
        "$timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda given: dt.timedelta(*given),
    ),
    uuid.UUID: ("$uuid", str, uuid.UUID),
    decimal.Decimal: ("$decimal", str, decimal.Decimal),
}
"""How each is written, and read."""
_BY_LIST: Final[dict[type, str]] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}
_CLASSES: Final = (type, types.GenericAlias, types.UnionType)
_DEPTH_MAX: Final = 200
_WHERE_CHARS: Final = 200
"""Of the path to a value, in a message."""
_NOT_LISTED: Final = "which is not listed: pass the class in `classes` to the checkpoint storage"


class Codec:
    """Encodes and decodes what a workflow keeps.

    Args:
        classes: Those of the program that may stand in a checkpoint: dataclasses, pydantic models, enums, and classes
            whose instances are nothing but their attributes.
    """

    def __init__(self, classes: Iterable[type] = ()) -> None:
        self._listed = {_name(one): one for one in classes}
        self._encoders: dict[type, Callable[[typing.Any, str, int], object]] = {
            float: lambda value, _, __: value if math.isfinite(value) else {"$float": str(value)},
            list: self._all,
            dict: self._dict,
            **dict.fromkeys(_BY_TEXT, self._as_text),
            **dict.fromkeys(_BY_LIST, self._as_list),
        }
        self._decoders: dict[str, Callable[[typing.Any], object]] = {
            "$float": float,
            "$map": lambda pairs: {self.decode(key): self.decode(one) for key, one in pairs},
            "$class": self._decode_class,
            "$enum": lambda held: self._kept(held[0], enum.Enum)[held[1]],
            "$said": lambda held: self._kept(held[0], _SAYERS).from_dict(self.decode(held[1])),
            "$model": lambda held: self._kept(held[0], BaseModel).model_validate(self.decode(held[1])),
            "$object": lambda held: _made(self._kept(held[0], object), self.decode(held[1])),
            **{mark: read for mark, _, read in _BY_TEXT.values()},
            **{mark: self._list_decoder(kind) for kind, mark in _BY_LIST.items()},
        }

    def encode(self, value: object, where: str = "checkpoint", depth: int = 0) -> object:
        """A value as JSON.

        Raises:
            WorkflowCheckpointException: Something in it cannot be kept; the message names the path to it.
        """
        kind = type(value)
        if depth > _DEPTH_MAX:
            raise _refused(where, f"nested over {_DEPTH_MAX} deep, or inside itself")
        if value is None or kind in {bool, int, str}:
            return value
        if kind in self._encoders:
            return self._encoders[kind](value, where, depth)
        if isinstance(value, _CLASSES):
            return {"$class": self._class(value, where)}
        return self._object(value, where, depth)

    def decode(self, form: object) -> object:
        """The inverse of `encode`.

        Raises:
            WorkflowCheckpointException: It names a class that is not listed, or is no such form.
        """
        if isinstance(form, list):
            return [self.decode(one) for one in form]
        if not isinstance(form, dict):
            return form
        if len(form) == 1 and (name := next(iter(form))).startswith("$"):
            try:
                return self._decoders[name](form[name])
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise WorkflowCheckpointException(f"the checkpoint holds a {name} that is none") from error
        return {name: self.decode(one) for name, one in form.items()}

    def _all(self, values: Iterable[object], where: str, depth: int) -> list[object]:
        return [self.encode(one, f"{where}[{place}]", depth + 1) for place, one in enumerate(values)]

    def _dict(self, value: Mapping[typing.Any, object], where: str, depth: int) -> dict[str, object]:
        if all(type(name) is str and not name.startswith("$") for name in value):
            return {str(name): self.encode(one, f"{where}.{name}", depth + 1) for name, one in value.items()}
        return {"$map": [self._all(pair, f"{where}.{pair[0]!r}", depth) for pair in value.items()]}

    def _as_text(self, value: object, _: str, __: int) -> object:
        mark, write, _read = _BY_TEXT[type(value)]
        return {mark: write(value)}

    def _as_list(self, value: Iterable[object], where: str, depth: int) -> object:
        forms = self._all(value, where, depth)
        return {_BY_LIST[type(value)]: forms if type(value) is tuple else sorted(forms, key=printed)}

    def _list_decoder(self, kind: Callable[[Iterable[object]], object]) -> Callable[[list[object]], object]:
        return lambda forms: kind(self.decode(one) for one in forms)

    def _object(self, value: object, where: str, depth: int) -> dict[str, object]:
        name = _name(type(value))
        if self._find(name) is not type(value) or not self._is_kept(type(value)):
            raise _refused(where, f"a {name}, {_NOT_LISTED}")
        if isinstance(value, enum.Enum):
            return {"$enum": [name, value.name]}
        if isinstance(value, _SAYERS):
            return {"$said": [name, self.encode(value.to_dict(), where, depth + 1)]}
        if isinstance(value, BaseModel):
            dumped = value.model_dump()
            if type(value).model_validate(dumped) != value:
                raise _refused(where, f"a {name}, which its own `model_dump` does not bring back")
            return {"$model": [name, self.encode(dumped, where, depth + 1)]}
        return {"$object": [name, self._dict(_attributes(value, where), where, depth + 1)]}

    def _class(self, value: type | types.GenericAlias | types.UnionType, where: str) -> object:
        if isinstance(value, types.GenericAlias):
            return [self._class(one, where) for one in (value.__origin__, *value.__args__)]
        if isinstance(value, types.UnionType):
            return ["|", *(self._class(one, where) for one in value.__args__)]
        if _PLAIN_BY_NAME.get(value.__qualname__) is value:
            return value.__qualname__
        if self._find(_name(value)) is value:
            return _name(value)
        raise _refused(where, f"the class {_name(value)}, {_NOT_LISTED}")

    def _decode_class(self, content: object) -> object:
        if isinstance(content, list) and content[0] == "|":
            return functools.reduce(operator.or_, [self._decode_class(one) for one in content[1:]])
        if isinstance(content, list):
            origin, *arguments = [self._decode_class(one) for one in content]
            return types.GenericAlias(typing.cast("type", origin), tuple(arguments))
        return _PLAIN_BY_NAME.get(str(content)) or self._known(str(content), object)

    def _known(self, name: str, of: type | tuple[type, ...]) -> typing.Any:  # noqa: ANN401 - a class, to be called
        found = self._find(name)
        if found is None or not issubclass(found, of):
            raise WorkflowCheckpointException(f"the checkpoint holds a {name}, {_NOT_LISTED}")
        return found

    def _kept(self, name: str, of: type | tuple[type, ...]) -> typing.Any:  # noqa: ANN401 - a class, to be called
        found = self._known(name, of)
        if not self._is_kept(found):
            raise WorkflowCheckpointException(f"the checkpoint holds a {name}, {_NOT_LISTED}")
        return found

    def _is_kept(self, kind: type) -> bool:
        """Whether instances of a class are kept, as far as `_find` finds it."""
        if _name(kind) in self._listed or issubclass(kind, enum.Enum):
            return True
        if issubclass(kind, _SAYERS):
            return _name(kind).startswith(_SAYING)
        return dataclasses.is_dataclass(kind) or kind is WorkflowEvent

    def _find(self, name: str) -> type | None:
        """A class of that name, if it is listed or the framework's."""
        if name in self._listed:
            return self._listed[name]
        module, _, path = name.partition(":")
        found: object = sys.modules.get(module) if module.startswith(_FRAMEWORK) else None
        for step in path.split("."):
            found = getattr(found, step, None)
            if not isinstance(found, type):
                return None
        return found if isinstance(found, type) and _name(found) == name else None


def _refused(where: str, why: str) -> WorkflowCheckpointException:
    place = where if len(where) <= _WHERE_CHARS else f"{where[:_WHERE_CHARS]}..."
    return WorkflowCheckpointException(f"{place} is {why}")


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _attributes(value: object, where: str) -> dict[str, object]:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    kind = type(value)
    reduces = kind.__reduce__ is not object.__reduce__ or kind.__getstate__ is not object.__getstate__
    if not hasattr(value, "__dict__") or reduces:
        raise _refused(where, f"a {_name(kind)}, which is more than its attributes")
    return dict(vars(value))


def _made(kind: type, attributes: object) -> object:
    if not isinstance(attributes, dict):
        raise TypeError
    made: object = object.__new__(kind)
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made
