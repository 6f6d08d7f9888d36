"""The long runs of hostile bytes find what is wrong, and say how to find it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from propagul.errors import PeerProtocolError
from tests import fuzz

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest


def test_a_good_frame_of_every_kind_is_taken() -> None:
    for kind, frames in fuzz.GOOD.items():
        for frame in frames:
            if fuzz.DECODERS[kind][1] != fuzz.ANSWERS:
                fuzz.DECODERS[kind][0](frame)


def test_seeds_are_attacked_until_the_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.main(5, 0.2)
    told = re.fullmatch(r"(\d+) frames, 0 failures; go on with FROM=(\d+)\n", capsys.readouterr().out)
    assert told is not None
    assert int(told[1]) == (int(told[2]) - 5) * 2 * fuzz.FRAMES > 0


def test_a_decoder_that_raises_something_else_is_found_again_by_its_line() -> None:
    def careless(packed: bytes) -> object:
        if packed.startswith(b"\xdd"):
            raise KeyError
        return fuzz.DECODERS["hello"][0](packed)

    decoders = fuzz.DECODERS | {"hello": (careless, PeerProtocolError)}
    seed = next(seed for seed in range(500) if fault_of(seed, decoders))
    found = fault_of(seed, decoders)
    assert found == fault_of(seed, decoders)
    assert found.startswith("hello: KeyError")
    assert found.endswith(f"\nreplay: python -m tests.fuzz {seed}")


def fault_of(seed: int, decoders: Mapping[str, fuzz.Decoder]) -> str:
    try:
        fuzz.attack(seed, decoders)
    except fuzz.Fault as fault:
        return str(fault)
    return ""
