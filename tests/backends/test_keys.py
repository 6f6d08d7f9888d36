"""API keys of engines: named with an address, sent there and nowhere else, shown nowhere."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from fleet_app.backends import Scanner
from fleet_app.config import load, shown
from fleet_app.errors import BackendError, ConfigError
from tests.backends.looks import scan
from tests.backends.replays.replay import Weights
from tests.backends.replays.single import vllm_replay

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.config import Settings

CANARY = "sk-canary-0123456789"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "engine.key"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o600)
    return path


def keys_of(settings: Settings) -> dict[str, str]:
    return {url: key.get_secret_value() for url, key in settings.backend_keys.items()}


def test_a_key_is_named_in_the_file_the_environment_or_on_the_command_line(tmp_path: Path, key_file: Path) -> None:
    text, config = f"http://box:1={key_file}", tmp_path / "config.yaml"
    config.write_text("backends:\n  - box:2\n  - {url: 'box:1', key_file: engine.key}\n")
    for settings in (
        load({}, environ={}, config_file=config),
        load({}, environ={"PROPAGUL_BACKENDS": f"{text} http://box:2"}),
        load({"backends": (text, "http://box:2")}, environ={}),
    ):
        assert set(settings.backends) == {"http://box:1", "http://box:2"}
        assert keys_of(settings) == {"http://box:1": CANARY}
        rows = {row.key: row.value for row in shown(settings, {})}
        assert "http://box:1=***" in rows["backends"]
        assert CANARY not in repr(settings) + str(rows)


@pytest.mark.parametrize(
    ("backends", "words"),
    [
        ("[{url: 'box:1'}]", "key_file"),
        ("[{url: 'box:1', key: hunter2}]", "key_file"),
        ("[{url: 'box:1', key_file: none.key}]", "cannot read"),
        ("[{url: 'box:1', key_file: empty.key}]", "no API key"),
        ("[{url: 'box:1', key_file: open.key}]", "open.key"),
        ("[{url: 'a:b@box', key_file: engine.key}]", "user name or password"),
    ],
)
def test_a_mistake_in_a_key_is_said_with_its_place(tmp_path: Path, key_file: Path, backends: str, words: str) -> None:
    for name, mode, text in (("empty.key", 0o600, " \n"), ("open.key", 0o644, CANARY)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    config = tmp_path / "config.yaml"
    config.write_text(f"backends: {backends}\n")
    with pytest.raises(ConfigError, match=words) as caught:
        load({}, environ={}, config_file=config)
    assert f"{config}:1: backends" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert key_file.exists()


def test_an_engine_with_a_key_is_used_and_the_key_is_nowhere_to_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with vllm_replay({"talker": Weights()}, api_key=CANARY) as replay:
        scanner = Scanner(urls=[replay.url], detect=False, api_keys={replay.url: CANARY})
        [seen] = scan(scanner)
        [engine] = scanner.engines()
        assert (seen.condition, [model.name for model in seen.models]) == ("ready", ["talker"])
        assert asyncio.run(engine.speaks("talker"))
        with pytest.raises(BackendError) as refused:
            asyncio.run(engine.load("talker", {}))
        assert (scanner.key_of(replay.url), scanner.key_of("http://box")) == (CANARY, None)
        assert CANARY not in seen.model_dump_json() + str(refused.value) + repr(engine) + caplog.text


def test_an_engine_without_its_key_says_what_to_do() -> None:
    with vllm_replay({"talker": Weights()}, api_key=CANARY) as replay:
        for keys in ({}, {replay.url: "wrong"}):
            [seen] = scan(Scanner(urls=[replay.url], detect=False, api_keys=keys))
            assert (seen.kind, seen.condition, seen.models) == ("vllm", "needs_key", ())
            assert "--backend URL=KEY_FILE" in seen.reason
