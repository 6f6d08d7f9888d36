"""Where the rows of threads stand: names of threads, namespaces and tasks as parts of keys.

A part is the name itself where that is short and plain, else `~` and a hash of it, so that no name is too long for a
key or reads as two parts. The id of a checkpoint ends its key as it is, so that keys sort by it.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:|@+-]{0,80}")
_SEQ_DIGITS: Final = 8
_NUMBER: Final = re.compile(r"[0-9a-f]{8}")


class Place(NamedTuple):
    """A namespace of one generation of a thread. Made by `place_at`.

    Attributes:
        root: How all keys of the saver begin.
        thread, namespace: Names, as parts of keys.
        generation: How often the thread had been deleted before.
        checkpoints: How the keys of its checkpoints begin.
        content: How the keys of the generation's content begin.
    """

    root: str
    thread: str
    generation: int
    namespace: str
    checkpoints: str
    content: str

    def writes(self, checkpoint_id: str) -> str:
        """How the keys of what was written to a checkpoint begin."""
        return f"{self.root}w/{self.thread}/{self.generation:x}/{self.namespace}/{part(checkpoint_id)}/"


@lru_cache(maxsize=4096)
def place_at(root: str, thread: str, generation: int, namespace: str) -> Place:
    """A place, by names that are parts of keys."""
    checkpoints = f"{root}c/{thread}/{generation:x}/{namespace}/"
    return Place(root, thread, generation, namespace, checkpoints, f"{root}e/{thread}/{generation:x}/")


@lru_cache(maxsize=4096)
def part(name: str) -> str:
    """A name as a part of a key."""
    if _PLAIN.fullmatch(name):
        return name
    hashed = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=15).digest()
    return "~" + urlsafe_b64encode(hashed).decode("ascii")


def checkpoint_key(place: Place, seq: int, checkpoint_id: str) -> str:
    """The key of a checkpoint; keys of a place sort by `seq`, then by id."""
    return f"{place.checkpoints}{seq:0{_SEQ_DIGITS}x}-{checkpoint_id}"


def seq_and_id(place: Place, key: str) -> tuple[int, str]:
    """The inverse; `(0, "")` for what is no such key."""
    number, _, checkpoint_id = key[len(place.checkpoints) :].partition("-")
    return (int(number, 16), checkpoint_id) if _NUMBER.fullmatch(number) else (0, "")
