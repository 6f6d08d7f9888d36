"""The long runs of hostile bytes find what is wrong, and say how to find it again."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from propagul.errors import PeerProtocolError
from propagul.link import encode_frame
from tests import fuzz, guided

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def test_a_good_frame_of_every_kind_is_taken() -> None:
    for kind, frames in fuzz.GOOD.items():
        for frame in frames:
            if fuzz.DECODERS[kind][1] != fuzz.ANSWERS:
                fuzz.DECODERS[kind][0](frame)


def test_seeds_are_attacked_until_the_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.main(5, 0.2)
    told = re.fullmatch(r"(\d+) frames, 0 failures; go on with FROM=(\d+)\n", capsys.readouterr().out)
    assert told is not None
    assert int(told[1]) == (int(told[2]) - 5) * fuzz.A_SEED > 0


def test_a_decoder_that_raises_something_else_is_found_again_by_its_line() -> None:
    def careless(packed: bytes) -> object:
        if len(packed) % 5 == 0:
            raise KeyError
        return fuzz.DECODERS["hello"][0](packed)

    decoders = fuzz.DECODERS | {"hello": (careless, PeerProtocolError)}
    seed = next(seed for seed in range(500) if fault_of(seed, decoders))
    found = fault_of(seed, decoders)
    assert found == fault_of(seed, decoders)
    assert found.startswith("hello: KeyError")
    assert found.endswith(f"\nreplay: python -m tests.fuzz {seed}")


def test_what_comes_in_pieces_is_cut_as_if_it_came_whole() -> None:
    frames = encode_frame(b"one") + encode_frame(b"") + encode_frame(b"two")
    assert fuzz.cut([frames]) == fuzz.cut(fuzz.in_bytes(frames)) == ([b"one", b"", b"two"], "")
    taken, error = fuzz.cut(fuzz.in_bytes(frames + b"\xff" * 4 + frames))
    assert (taken, error) == fuzz.cut([frames + b"\xff" * 4 + frames])
    assert "announced" in error
    assert fuzz.carried(b"") == b""


def test_a_decoder_that_depends_on_how_its_bytes_come_is_found() -> None:
    seen = list[bytes]()

    def moody(packed: bytes) -> object:
        seen.append(packed)
        if len(seen) > 1:
            raise KeyError
        return None

    with pytest.raises(fuzz.Fault, match=r"(?s)hello: KeyError.*\nreplay: this way"):
        fuzz.give("hello", b"x", "replay: this way", {"hello": (moody, PeerProtocolError)})
    assert seen == [b"x", b"x"]


def test_what_coverage_leads_to_is_said_to_be_missing_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert guided.main(1.0) == 0
    assert "no coverage-guided fuzzing was done" in capsys.readouterr().out


def test_a_frame_that_was_found_is_given_again_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "crash"
    found.write_bytes(b"\xc1")
    guided.give(("hello", "path"), str(found))
    assert capsys.readouterr().out == "2 frames given to the decoders as they are used, 0 failures\n"


def fault_of(seed: int, decoders: Mapping[str, fuzz.Decoder]) -> str:
    try:
        fuzz.attack(seed, decoders)
    except fuzz.Fault as fault:
        return str(fault)
    return ""
