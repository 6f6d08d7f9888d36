"""Packed payloads are bytes with a name; the kernel makes them so that a million of them cost the collector nothing."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from propagul.crdt import Packed, twins
from tests.crdt.kernels import by, compiled, load

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(compiled(tmp_path_factory))


def test_a_packed_payload_is_bytes_of_which_the_collector_knows_nothing(module: ModuleType) -> None:
    gc.disable()
    before = gc.get_count()[0]
    kept = [module.Packed(bytes(number)) for number in range(1000)]
    counted = gc.get_count()[0] - before
    gc.enable()
    assert counted < 10
    assert not any(map(gc.is_tracked, kept))
    assert all(type(each) is module.Packed and isinstance(each, bytes) and each == bytes(each) for each in kept)
    assert (repr(kept[1]), hash(kept[1])) == ("b'\\x00'", hash(b"\0"))
    assert (module.Packed.__module__, module.Packed.__qualname__) == (Packed.__module__, Packed.__qualname__)
    with pytest.raises(AttributeError):
        kept[0].anything = 1


def test_which_class_there_is_is_said_by_the_kernel(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    named = type("Packed", (bytes,), {"__slots__": ()})
    with by(module):
        assert twins.lean(named) is module.Packed
    with by(None):
        assert twins.lean(named) is named
    monkeypatch.setenv(twins.KERNEL_VARIABLE, "nonsense")
    assert twins.lean(named) is named
