"""The scanner over replays: what appears, stays and vanishes."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import DEFAULT_PORTS, Scanner, conversation, detect
from fleet_app.backends.tgi import Tgi
from fleet_app.errors import ConfigError
from tests.backends.looks import running, scan, until
from tests.engines import Answer, ReplayServer, free_port

if TYPE_CHECKING:
    from fleet_app.presence import BackendPresence


def test_every_engine_on_every_port_is_found_and_each_at_its_own_address() -> None:
    with ReplayServer.of("ollama") as one, ReplayServer.of("ollama") as two, ReplayServer.of("tgi") as three:
        ports = (one.port, two.port, three.port, free_port())
        found = scan(Scanner(urls=[], detect=True, ports=ports))
        assert [seen.url for seen in found] == sorted([one.url, two.url, three.url])
        assert {seen.kind for seen in found} == {"ollama", "tgi"}


def test_a_named_address_and_the_same_scanned_port_are_one_engine() -> None:
    with ReplayServer.of("vllm") as server:
        url = f"localhost:{server.port}/v1/"
        found = scan(Scanner(urls=[url, url], detect=True, ports=[server.port]))
        assert [seen.url for seen in found] == [f"http://localhost:{server.port}"]


def test_without_detection_no_port_is_asked() -> None:
    with ReplayServer.of("vllm") as server:
        assert scan(Scanner(urls=[], detect=False, ports=[server.port])) == ()
        assert server.seen == []


def test_ignored_ports_are_not_asked() -> None:
    with ReplayServer.of("vllm") as server:
        assert scan(Scanner(urls=[], detect=True, ports=[server.port], ignore_ports={server.port})) == ()
        assert server.seen == []


def test_closed_ports_cost_almost_nothing() -> None:
    scanner = Scanner(urls=[], detect=True, ports=[free_port() for _ in range(20)])
    before = time.process_time()
    assert scan(scanner, rounds=5) == ()
    assert time.process_time() - before < 1.0


def test_an_engine_that_appears_and_vanishes_is_followed_live() -> None:
    port = free_port()
    scanner = Scanner(urls=[], detect=True, ports=[port], interval_s=0.1)
    heard: list[tuple[BackendPresence, ...]] = []
    scanner.add_listener(heard.append)

    async def follow() -> None:
        async with running(scanner):
            with ReplayServer.of("ollama", port=port):
                await until(scanner, lambda shown: [seen.kind for seen in shown] == ["ollama"])
            await until(scanner, lambda shown: shown == ())

    asyncio.run(follow())
    assert [len(shown) for shown in heard] == [1, 0]


def test_a_new_engine_is_found_in_half_an_interval_while_ready_ones_wait_for_a_whole_one() -> None:
    port = free_port()

    async def follow() -> None:
        with ReplayServer.of("vllm") as ready:
            scanner = Scanner(urls=[], detect=True, ports=[ready.port, port])
            await scanner.scan_once()
            ready.seen.clear()
            with ReplayServer.of("ollama", port=port):
                await scanner.scan_once(settled=False)
                assert {seen.kind for seen in scanner.current()} == {"vllm", "ollama"}
                assert ready.seen == []

    asyncio.run(follow())


def test_an_engine_that_loads_or_is_gone_is_looked_at_twice_as_often() -> None:
    with ReplayServer.of("llamacpp_loading") as loading, ReplayServer.of("llamacpp") as loaded:
        scanner = Scanner(urls=[loading.url], detect=False)
        assert scan(scanner)[0].condition == "loading"
        loading.answers, loading.unknown = loaded.answers, loaded.unknown
        asyncio.run(scanner.scan_once(settled=False))
        assert scanner.current()[0].condition == "ready"


def test_an_engine_that_changes_its_port_goes_and_comes() -> None:
    ports = free_port(), free_port()
    scanner = Scanner(urls=[], detect=True, ports=ports)
    for port in ports:
        with ReplayServer.of("ollama", port=port) as server:
            assert [seen.url for seen in scan(scanner)] == [server.url]
            assert [engine.url for engine in scanner.engines()] == [server.url]
    assert scan(scanner) == ()
    assert scanner.engines() == ()


def test_whoever_holds_an_engine_sees_it_go_and_come_back_at_the_same_address() -> None:
    with ReplayServer.of("ollama") as server:
        scanner = Scanner(urls=[server.url], detect=False)
        scan(scanner)
        [engine] = scanner.engines()
    assert scan(scanner) == (engine.seen,)
    assert engine.seen.condition == "unreachable"
    with ReplayServer.of("ollama", port=server.port):
        [seen] = scan(scanner)
        assert seen.condition == "ready"
        assert seen == engine.seen
        assert scanner.engines() == (engine,)


def test_an_engine_at_a_scanned_port_that_is_gone_is_unreachable_to_those_who_hold_it() -> None:
    with ReplayServer.of("ollama") as server:
        scanner = Scanner(urls=[], detect=True, ports=[server.port])
        scan(scanner)
        [engine] = scanner.engines()
    assert scan(scanner) == ()
    assert (engine.seen.condition, engine.seen.can) == ("unreachable", ())


def test_one_engine_can_be_looked_at_at_once() -> None:
    with ReplayServer.of("ollama") as server, ReplayServer.of("vllm") as other:
        scanner = Scanner(urls=[server.url, other.url], detect=False)
        scan(scanner)
        other.seen.clear()
        server.get("/api/ps", Answer.of({"models": []}))
        asyncio.run(scanner.look_at(server.url))
        loaded = {engine.url: engine.seen.models[0].loaded for engine in scanner.engines()}
        assert loaded == {server.url: False, other.url: True}
        assert other.seen == []


def test_an_engine_replaced_by_another_on_its_port_is_recognised_anew() -> None:
    with ReplayServer.of("ollama") as server, ReplayServer.of("vllm") as other:
        scanner = Scanner(urls=[], detect=True, ports=[server.port])
        assert scan(scanner)[0].kind == "ollama"
        server.answers, server.unknown = other.answers, other.unknown
        assert scan(scanner)[0].kind == "vllm"


def test_listeners_hear_changes_and_nothing_else() -> None:
    with ReplayServer.of("ollama") as server:
        scanner = Scanner(urls=[server.url], detect=False)
        heard: list[tuple[BackendPresence, ...]] = []
        scanner.add_listener(heard.append)
        scan(scanner, rounds=3)
        assert len(heard) == 1
        server.get("/api/ps", Answer.of({"models": []}))
        scan(scanner, rounds=2)
        assert [shown[0].models[0].loaded for shown in heard] == [True, False]
        assert heard[-1] == scanner.current()


def test_a_named_address_where_nothing_answers_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name_server(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", no_name_server)
    port = free_port()
    urls = [f"http://127.0.0.1:{port}", "http://no-such-host.invalid:8000", f"https://127.0.0.1:{port}"]
    shown = {seen.url: seen for seen in scan(Scanner(urls=urls, detect=False))}
    assert {(seen.kind, seen.condition) for seen in shown.values()} == {("unknown", "unreachable")}
    assert "refused" in shown[urls[0]].reason
    assert "does not resolve" in shown[urls[1]].reason


def test_a_hanging_engine_is_unhealthy_then_gone_and_delays_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "ANSWER_TIMEOUT_S", 0.3)
    with ReplayServer.of("ollama") as slow, ReplayServer.of("vllm") as quick:
        scanner = Scanner(urls=[], detect=True, ports=[slow.port, quick.port])
        assert len(scan(scanner)) == 2
        del quick.answers["GET", "/v1/models"]
        for request, answer in list(slow.answers.items()):
            slow.answers[request] = answer.delayed(60)
        heard: list[tuple[BackendPresence, ...]] = []
        scanner.add_listener(heard.append)
        [shown] = scan(scanner)
        assert (shown.kind, shown.condition, shown.models) == ("ollama", "unhealthy", ())
        assert [len(seen) for seen in heard] == [1, 1]  # the quick one's news did not wait for the slow one
        assert heard[0][0].condition == "ready"
        assert len(scan(scanner, rounds=2)) == 1
        assert scan(scanner) == ()


def test_two_rounds_never_overlap() -> None:
    with ReplayServer.of("vllm") as server:
        for request, answer in list(server.answers.items()):
            server.answers[request] = answer.delayed(0.05)
        scanner = Scanner(urls=[server.url], detect=False)

        async def both() -> None:
            await asyncio.gather(scanner.scan_once(), scanner.scan_once())

        asyncio.run(both())
        assert server.paths() == [
            "/v1/models",
            "/version",
            "/openapi.json",
            "/metrics",
            "/v1/models",
            "/version",
            "/metrics",
        ]


def test_a_key_is_sent_to_its_own_address_and_nowhere_else() -> None:
    with ReplayServer.of("vllm") as mine, ReplayServer.of("vllm") as other:
        scan(Scanner(urls=[mine.url], detect=True, ports=[other.port], api_keys={mine.url + "/v1": "hunter2"}))
        assert set(mine.authorizations) == {"Bearer hunter2"}
        assert set(other.authorizations) == {None}


def test_mistakes_in_the_settings_are_said_at_once() -> None:
    with pytest.raises(ConfigError, match="user name or password"):
        Scanner(urls=["http://a:b@box"], detect=False)
    with pytest.raises(ConfigError, match="not among"):
        Scanner(urls=["http://box"], detect=False, api_keys={"http://other": "hunter2"})
    with pytest.raises(ConfigError, match="at most 48"):
        Scanner(urls=[f"http://box:{port}" for port in range(1, 50)], detect=False)


def test_the_usual_ports_are_scanned() -> None:
    assert set(DEFAULT_PORTS) == {11434, 8000, 8080, 80, 3000, 1234, 30000, 5001, 5000, 1337, 13305, 12434}


def test_detect_looks_once() -> None:
    with ReplayServer.of("lmstudio") as server:
        found = asyncio.run(detect([server.url], detect=False))
        assert [seen.kind for seen in found] == ["lmstudio"]
        assert asyncio.run(detect([], False)) == ()


def test_a_cancelled_scanner_ends_at_once_also_in_the_middle_of_a_look() -> None:
    with ReplayServer(unknown=Answer().delayed(60)) as server:
        scanner = Scanner(urls=[server.url], detect=False)

        async def start_and_stop() -> float:
            task = asyncio.create_task(scanner.run())
            async with asyncio.timeout(10):
                while not server.seen:
                    await asyncio.sleep(0.01)
            started = time.monotonic()
            task.cancel()
            await asyncio.wait([task])
            return time.monotonic() - started

        assert asyncio.run(start_and_stop()) < 1


def test_a_fault_in_reading_one_engine_does_not_end_the_watch_over_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    with ReplayServer.of("tgi") as broken, ReplayServer.of("vllm") as sound:
        monkeypatch.setattr(Tgi, "recognise", fail)
        scanner = Scanner(urls=[broken.url, sound.url], detect=False)
        shown = {seen.url: seen for seen in scan(scanner)}
        assert (shown[sound.url].kind, shown[sound.url].condition) == ("vllm", "ready")
        assert "could not be read" in shown[broken.url].reason
        assert "ZeroDivisionError" in caplog.text
        monkeypatch.undo()
        assert {seen.kind for seen in scan(scanner)} == {"tgi", "vllm"}
