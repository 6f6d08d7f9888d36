"""The keys and values that every contender works on: the same for the same seed."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_CHARS = 21
VALUE_CHARS = 100

_RANDOM_BYTES = VALUE_CHARS * 3 // 4


def keys(count: int) -> list[str]:
    """Distinct keys of 21 characters, as an agent would name them."""
    return [f"agents/{number:06}/state/{number % 10}" for number in range(count)]


def values(count: int, seed: int) -> list[str]:
    """Random texts of 100 characters, each an object of its own."""
    chance = random.Random(seed)
    return [base64.b64encode(chance.randbytes(_RANDOM_BYTES)).decode() for _ in range(count)]


def rows(count: int, seed: int) -> dict[str, str]:
    """Every key with a value."""
    return dict(zip(keys(count), values(count, seed), strict=True))


def text_bytes(texts: Mapping[str, str]) -> int:
    """Bytes of keys and values alone."""
    return sum(len(key) + len(value) for key, value in texts.items())
