"""Reading JSON that may be anything at all.

A port can answer `5`, a list, a thousand brackets or a megabyte of the wrong type. Each function takes what it finds
when it has the expected type and says None (or nothing) otherwise; none of them raises. Names pass unchanged or not
at all: a name that was shortened or cleaned would no longer be the engine's.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping

NAME_CHARS_MAX = 256
SIZE_BYTES_MAX = 2**60
COUNT_MAX = 2**40
REQUESTS_MAX = 1_000_000

JsonObject = Mapping[str, object]


def parse(body: bytes) -> object:
    """The JSON value in `body`; None when there is none."""
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        return None


def as_object(value: object) -> JsonObject:
    """`value` when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[JsonObject]:
    """The JSON objects in `value` when it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_name(value: object) -> str | None:
    """`value` when it can be a name: text of 1 to 256 printable characters that UTF-8 can carry."""
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARS_MAX:
        return None
    return None if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value) else value


def as_bytes(value: object) -> int | None:
    """`value` when it can be a size in bytes."""
    return value if type(value) is int and 0 <= value <= SIZE_BYTES_MAX else None


def as_count(value: object, most: int = COUNT_MAX) -> int | None:
    """`value` when it can be a number of tokens or, with that as the most, of requests."""
    return value if type(value) is int and 0 <= value <= most else None


def gauge(metrics: str, name: str) -> int | None:
    """The sum of a Prometheus gauge over its labels, in its text form; None when it is not there."""
    values = re.findall(rf"^{re.escape(name)}(?:{{.*}})? ([0-9.eE+]+)$", metrics, re.MULTILINE)
    try:
        total = sum(map(float, values))
        return int(total) if values and total <= REQUESTS_MAX else None
    except ValueError:
        return None


def owners(listing: object) -> list[str | None]:
    """`owned_by` of each model in an OpenAI-style list, None where it is missing."""
    return [as_name(entry.get("owned_by")) for entry in as_objects(as_object(listing).get("data"))]
