"""A config file that changes is in force, or is told with its reason; what was in force never goes by accident."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from fleet_app.config import Settings, load, reloading
from fleet_app.errors import ConfigError
from tests.store.world import until

if TYPE_CHECKING:
    from pathlib import Path

    from fleet_app.config import Reload
    from fleet_app.config.knobs import Text

CANARY = "canary-secret-of-thirty-characters"


class Watched:
    """Settings of a file, and what subscribers took of it."""

    def __init__(self, path: Path, **flags: Text) -> None:
        self.path, self.taken = path, [Settings.model_validate(load(flags, environ={}, config_file=path))]
        settings = reloading(self.taken[0], flags, environ={}, config_file=path)
        assert settings.reload is not None
        self.reload: Reload = settings.reload

    def subscribe(self, *keys: str) -> None:
        self.reload.subscribe(*keys, apply=self.taken.append)

    def write(self, text: str) -> tuple[str, ...]:
        """Write the file and have it looked at; what a person is told after it."""
        self.path.write_text(text)
        asyncio.run(self.reload.look())
        return self.reload.notices()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.yaml"
    path.write_text("name: attic\nlisten: 127.0.0.1:9001\n")
    return path


def test_a_changed_value_reaches_whoever_subscribed_to_its_key_once(file: Path) -> None:
    box = Watched(file)
    box.subscribe("name", "detect")
    assert box.write("name: cellar\ndetect: false\nlisten: 127.0.0.1:9001\n") == ()
    assert [(taken.name, taken.detect) for taken in box.taken] == [("attic", True), ("cellar", False)]


def test_a_file_that_did_not_change_is_not_read(file: Path) -> None:
    box = Watched(file)
    box.subscribe("name")
    asyncio.run(box.reload.look())
    assert len(box.taken) == 1


def test_what_nobody_can_take_needs_a_restart_until_it_is_as_before(file: Path) -> None:
    box = Watched(file)
    box.subscribe("name")
    (told,) = box.write("name: attic\nlisten: 127.0.0.1:9002\ngateway: 127.0.0.1:9003\n")
    assert told == f"{file}: what it says of listen, gateway needs a restart of this node"
    (told,) = box.write("name: attic\nlisten: 127.0.0.1:9002\n")
    assert "of listen needs a restart" in told
    assert box.write("name: attic\nlisten: 127.0.0.1:9001\n") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: cellar\ndetect: perhaps\n", "node.yaml:2: detect: is neither true nor false"),
        ("name: cellar\nnaem: x\n", "node.yaml:2: 'naem' is no setting; did you mean name?"),
        ("name: [", "node.yaml:"),
        ("", ""),
    ],
)
def test_a_file_with_an_error_changes_nothing_and_its_line_is_told(file: Path, text: str, reason: str) -> None:
    box = Watched(file)
    box.subscribe("name")
    told = " ".join(box.write(text))
    assert reason in told
    if text:
        assert [taken.name for taken in box.taken] == ["attic"]
        assert "what was in force stays" in told
        box.write("name: cellar\nlisten: 127.0.0.1:9001\n")
    assert box.taken[-1].name != "attic"


def test_a_file_that_somebody_named_and_that_is_gone_changes_nothing(file: Path) -> None:
    box = Watched(file)
    box.subscribe("name")
    file.unlink()
    asyncio.run(box.reload.look())
    assert "there is no such file" in box.reload.notices()[0]
    assert len(box.taken) == 1


def test_a_flag_outranks_the_file_as_at_the_start(file: Path) -> None:
    box = Watched(file, name="by flag")
    box.subscribe("name")
    assert box.write("name: cellar\nlisten: 127.0.0.1:9001\n") == ()
    assert len(box.taken) == 1


def test_a_value_that_is_refused_leaves_the_old_one_and_is_tried_again(file: Path) -> None:
    box, refuse = Watched(file), [True]

    async def take(_: Settings) -> None:
        if refuse:
            raise ConfigError("49 engine addresses are named")

    box.reload.subscribe("backends", apply=take)
    (told,) = box.write("name: attic\nlisten: 127.0.0.1:9001\nbackends: http://127.0.0.1:9\n")
    assert told == f"{file}: backends is as it was: 49 engine addresses are named"
    refuse.clear()
    assert box.write("name: attic\nlisten: 127.0.0.1:9001\nbackends: [http://127.0.0.1:9]\n") == ()


def test_one_line_is_logged_and_it_holds_no_value(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    box = Watched(file)
    box.subscribe("name")
    secret = file.with_name("secret")
    secret.write_text(CANARY)
    secret.chmod(0o600)
    with caplog.at_level(logging.INFO):
        (told,) = box.write(f"name: cellar\nlisten: 127.0.0.1:9001\nsecret_file: {secret}\n")
    assert told.endswith("what it says of secret needs a restart of this node")
    assert [record.getMessage() for record in caplog.records] == [f"config file read again, in force: name; {told}"]
    assert CANARY not in caplog.text


def test_watching_finds_a_file_that_an_editor_put_in_place_of_the_former(file: Path) -> None:
    box = Watched(file)
    box.subscribe("name")
    box.reload._interval_s = 0.02

    async def scenario() -> None:
        task = asyncio.create_task(box.reload.run())
        other = file.with_name("draft")
        other.write_text("name: other\nlisten: 127.0.0.1:9001\n")
        other.rename(file)
        await until(lambda: box.taken[-1].name == "other")
        task.cancel()

    asyncio.run(scenario())


def test_asking_reads_an_unchanged_file_at_once(file: Path) -> None:
    """As after SIGHUP."""
    box, reads = Watched(file), 0
    box.reload._interval_s = 3600.0

    def read() -> Settings:
        nonlocal reads
        reads += 1
        return box.taken[0]

    box.reload._read = read

    async def scenario() -> None:
        task = asyncio.create_task(box.reload.run())
        box.reload.ask()
        await until(lambda: reads == 1)
        task.cancel()

    asyncio.run(scenario())


def test_the_form_of_log_lines_follows_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleet_app.cli import main
    from fleet_app.cli.logs import LOGGERS

    file = tmp_path / "node.yaml"
    file.write_text("log_format: text\n")
    monkeypatch.setattr("os.environ", {"HOME": str(tmp_path)})

    def serve(settings: Settings, _: object) -> int:
        assert settings.reload is not None
        file.write_text("log_format: json\n")
        asyncio.run(settings.reload.look())
        logging.getLogger("fleet_app.x").warning("in another form")
        return 0

    try:
        assert main(["fleet", "up", "--config", str(file)], serve=serve) == 0
    finally:
        for name in LOGGERS:
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = [], True
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert '"event": "in another form"' in capsys.readouterr().err
