"""What was wrong with engines in the published 0.9.0, by the number of the fault, and is not wrong here."""

from __future__ import annotations

import pytest

from fleet_app.backends import Scanner
from tests.backends.looks import scan
from tests.backends.replays.ollama import ollama_replay
from tests.backends.replays.replay import Weights
from tests.backends.replays.single import vllm_replay
from tests.engines import Answer, ReplayServer, free_port


def test_m8_an_address_a_person_names_changes_nothing_about_where_others_are_asked() -> None:
    with ollama_replay({"mine:latest": Weights()}) as named, vllm_replay({"theirs": Weights()}) as found:
        shown = scan(Scanner(urls=[named.url], detect=True, ports=[found.port]), rounds=2)
        models = {seen.url: (seen.kind, [model.name for model in seen.models]) for seen in shown}
        assert models == {named.url: ("ollama", ["mine:latest"]), found.url: ("vllm", ["theirs"])}


@pytest.mark.parametrize("body", [b"5", b"true", b'"x"', b"null", b"[]", b"[5]", b'{"data": 5}', b'{"models": 5}'])
def test_m14_a_port_that_answers_json_that_is_no_container_is_no_engine_and_no_crash(body: bytes) -> None:
    with ReplayServer(unknown=Answer(body)) as odd, ollama_replay({"m:latest": Weights()}) as sound:
        [seen] = scan(Scanner(urls=[], detect=True, ports=[odd.port, sound.port]))
        assert (seen.url, seen.kind) == (sound.url, "ollama")


def test_m14_a_port_says_nothing_about_the_engine() -> None:
    for port in (8000, 8080):
        try:
            with ReplayServer.of("llamacpp", port=port):
                assert [seen.kind for seen in scan(Scanner(urls=[], detect=True, ports=[port]))] == ["llamacpp"]
        except OSError:
            pytest.skip(f"port {port} is taken on this machine")


def test_m18_an_engine_that_is_gone_is_advertised_with_nothing_and_no_address_is_rewritten() -> None:
    with ollama_replay({"m:latest": Weights()}) as replay:
        scanner = Scanner(urls=[replay.url], detect=True, ports=[free_port()])
        assert [model.name for model in scan(scanner)[0].models] == ["m:latest"]
        replay.stop()
        [seen] = scan(scanner)
        assert (seen.url, seen.condition, seen.models, seen.can) == (replay.url, "unreachable", (), ())
        assert "nothing listens there" in seen.reason
