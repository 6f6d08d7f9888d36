"""Values as JSON and back, without loss, for people and other programs.

What JSON has stands as it is. The rest is an object with one name: `{"$bytes": base64}`, `{"$time": ISO 8601}`,
`{"$float": "inf"}`, and `{"$map": [[name, value], ...]}` for a dict that has a name which is no text or begins with a
`$`. So no dict is taken for one of these forms. The rule of this file: `from_json(to_json(value)) == value`, types and
the order of names included.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MARK: Final = "$"
_BYTES, _TIME, _FLOAT, _MAP = "$bytes", "$time", "$float", "$map"
_INFINITIES: Final = {"inf": math.inf, "-inf": -math.inf}


def to_json(value: object) -> object:
    """What `json.dumps` takes, for a value of the store.

    Raises:
        TypeError: It is no value.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {_FLOAT: "inf" if value > 0 else "-inf"}
        case bytes():
            return {_BYTES: base64.b64encode(value).decode("ascii")}
        case dt.datetime():
            return {_TIME: value.isoformat()}
        case list():
            return [to_json(part) for part in value]
        case dict():
            return _to_object(value)
    raise TypeError(f"a {type(value).__name__} is no value")


def from_json(form: object) -> object:
    """The inverse of `to_json`, for what `json.loads` gives.

    Raises:
        ValueError: A form with a `$` does not hold what it says.
    """
    if type(form) is list:
        return [from_json(part) for part in form]
    if type(form) is not dict:
        return form
    if len(form) == 1:
        ((name, content),) = form.items()
        if name in _FORMS:
            return _FORMS[name](content)
    return {name: from_json(part) for name, part in form.items()}


def dumps(form: object, *, indent: int | None = None) -> str:
    """The text of a JSON object, free of what a terminal would obey; without `indent` it is one line."""
    text = json.dumps(form, ensure_ascii=False, allow_nan=False, indent=indent)
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def loads(text: str) -> object:
    """The JSON in a text; NaN and Infinity, which are none, are refused.

    Raises:
        ValueError: It is no JSON, or nested too deep. The message quotes nothing of it.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        at = f": {error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"this is no JSON{at}") from None


def _to_object(value: dict[object, object]) -> dict[str, object]:
    if all(type(name) is str and not name.startswith(_MARK) for name in value):
        return {str(name): to_json(part) for name, part in value.items()}
    return {_MAP: [[to_json(name), to_json(part)] for name, part in value.items()]}


def _bytes(content: object) -> bytes:
    try:
        return base64.b64decode(_text(_BYTES, content), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{_BYTES} does not hold base64") from None


def _time(content: object) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(_text(_TIME, content))
    except ValueError:
        raise ValueError(f"{_TIME} does not hold a time in ISO 8601") from None
    if time.tzinfo is None:
        raise ValueError(f"{_TIME} holds a time without a zone; end it with +00:00 for UTC")
    return time


def _float(content: object) -> float:
    if content not in ("inf", "-inf"):
        raise ValueError(f"{_FLOAT} holds inf or -inf; other numbers stand as they are")
    return _INFINITIES[str(content)]


def _map(content: object) -> dict[object, object]:
    pairs = content if type(content) is list else []
    if type(content) is not list or not all(type(pair) is list and len(pair) == 2 for pair in pairs):
        raise ValueError(f"{_MAP} does not hold a list of [name, value]")
    names = [from_json(name) for name, _ in pairs]
    if not all(type(name) in (str, bytes, int) for name in names):
        raise ValueError(f"{_MAP} has a name that is no text, bytes or int")
    return {name: from_json(part) for name, (_, part) in zip(names, pairs, strict=True)}


def _text(form: str, content: object) -> str:
    if type(content) is not str:
        raise ValueError(f"{form} does not hold a text")
    return content


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if not character.isascii() else f"\\u{ord(character):04x}"


def _refuse(_: str) -> None:
    raise ValueError


_FORMS: Final[dict[str, Callable[[object], object]]] = {_BYTES: _bytes, _TIME: _time, _FLOAT: _float, _MAP: _map}
