"""`propagul state` as a person and a script meet it: real processes, on directories that real stores wrote."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fleet_app.cli._state_watch import described
from propagul import AgentStateStore, LocalProtocolError
from propagul.crdt import Dot, Origin, Stamp
from propagul.store._export import Exported, export_lines
from propagul.store._holdings import holdings
from propagul.store._import import Imported, import_lines
from propagul.store._readable import dumps, from_json, loads, to_json
from propagul.store._retention import Retention
from propagul.store._verify import verify
from tests.store.owners import hand, plain_block

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Shell

CANARY = "canary-value-that-no-message-holds"
ROOM = "my-project"
NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=dt.UTC)

VALUES: dict[str, object] = {
    "none": None, "true": True, "false": False, "zero": 0, "least": -(2**63), "most": 2**64 - 1, "one": 1, "one.0": 1.0,
    "tiny": 5e-324, "inf": math.inf, "-inf": -math.inf, "text": "über \n\x1b[31m\u202e \N{ROCKET}", "empty": "",
    "bytes": bytes(range(256)), "no bytes": b"", "time": NOON, "list": [1, [None, {"a": [b"x"]}], NOON], "[]": [],
    "dict": {"b": 1, "a": {"c": [True]}}, "{}": {}, "names": {1: "a", b"x": {2: 3}, "s": -1},
    "looks like a form": {"$bytes": "eA=="}, "and another": [{"$time": "never"}, {"$map": []}, {"$x": 1, "y": 2}],
}  # fmt: skip

LIVE = """
import sys
from propagul import AgentStateStore
store = AgentStateStore("my-project", port=None, path="state", alone="alone" in sys.argv)
store.start_background()
store.set("plan", {"step": 3})
print("up", flush=True)
for line in sys.stdin:
    print(store.get(line.strip()), flush=True)
store.close()
"""

WITHOUT_EXTRA = """
import sys
NEEDED = {"click", "colorama"}
FLEET = {"aiohttp", "multidict", "pynvml", "platformdirs", "psutil", "pydantic", "rich", "ruamel", "yarl", "zeroconf"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FLEET:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from fleet_app.cli import main
sys.exit(main())
"""


def store_at(path: Path, **more: object) -> AgentStateStore:
    return AgentStateStore(ROOM, port=None, path=path, retention=Retention("all"), **more)  # type: ignore[arg-type]


@pytest.fixture
def state(shell: Shell) -> Path:
    """A directory with something of everything in it."""
    path = shell.home / "state"
    store = store_at(path)
    store.set("plan", {"step": 3})
    store.set("plan", {"step": 4})
    store.set("bad\nkey\x1b", "x")
    store.set("blob", b"\x00\xff")
    store.counter("tokens").add(812)
    store.set_of("tags").update(["b", 7, b"c"])
    store.log_of("events").extend([{"n": 1}, "two"])
    store.map_of("conf").update({"a": {"b": 1}, "d": {}})
    store.close()
    return path


def with_conflict(path: Path) -> None:
    """Two values of `task` under a directory, and of a map's leaf, written concurrently."""
    theirs, ours = AgentStateStore(ROOM, port=0, host="127.0.0.1"), AgentStateStore(ROOM, port=None, path=path)
    for store, value in ((theirs, "theirs"), (ours, "ours")):
        store.set("task", value)
        store.map_of("conf").set("mode", value)
    theirs.start_background()
    ours.start_background(peers=[(str(theirs.addresses[0].host), theirs.addresses[0].port)])
    assert ours.get_conflicts("task") == ["ours", "theirs"]
    ours.close()
    theirs.close()


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALUES)
def test_every_value_as_json_comes_back_as_it_was(name: str) -> None:
    text = dumps(to_json(VALUES[name]))
    back = from_json(loads(text))
    assert text.isprintable()
    assert (back, type(back), repr(back)) == (VALUES[name], type(VALUES[name]), repr(VALUES[name]))


@pytest.mark.parametrize(
    "text", ['{"$bytes": "?"}', '{"$bytes": 1}', '{"$time": "x"}', '{"$time": "2026-01-31"}', '{"$map": [1]}',
             '{"$float": 1}', '{"$map": [[[], 1]]}', '{"$map": [[true, 1]]}'],
)  # fmt: skip
def test_a_form_that_does_not_hold_what_it_says_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^\$"):
        from_json(loads(text))


# --- one key ----------------------------------------------------------------------------------------------------------


def test_a_value_is_printed_as_json(shell: Shell, state: Path) -> None:
    done = shell("state", "get", "plan", "--path", str(state))
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"step": 4}\n', "")
    assert shell("state", "get", "blob", PROPAGUL_STATE_PATH="state").stdout == '{"$bytes": "AP8="}\n'
    told = json.loads(shell("state", "get", "plan", "--json", "--path", "state").stdout)
    assert (told["key"], told["value"]) == ("plan", {"step": 4})
    assert dt.datetime.fromisoformat(told["time"]).tzinfo is not None
    assert len(told["origin"]) == 16


def test_a_raw_text_is_printed_without_quotes_or_end(shell: Shell, state: Path) -> None:
    assert shell("state", "get", "bad\nkey\x1b", "--raw", "--path", str(state)).stdout == "x"
    line = shell.complaint("state", "get", "plan", "--raw", "--path", str(state), code=1)
    assert "neither a text nor bytes" in line


def test_an_absent_key_is_one_line_and_exit_1(shell: Shell, state: Path) -> None:
    for words in (("get", "nope"), ("delete", "nope"), ("history", "nope"), ("conflicts", "nope", "--resolve", "1")):
        assert "'nope'" in shell.complaint("state", *words, "--path", str(state), code=1)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("k", '{"a": [1, 2.5]}'), {"a": [1, 2.5]}),
        (("k", "plain words"), "plain words"),
        (("k", "12", "--text"), "12"),
        (("k", "-5"), -5),
        (("k", '{"$bytes": "AP8="}'), b"\x00\xff"),
        (("k", '{"$time": "2026-01-31T12:00:00.25+00:00"}'), NOON),
        (("k", "NaN"), "NaN"),
        (("k", "null"), None),
    ],
)
def test_what_is_set_is_json_or_else_text(shell: Shell, state: Path, words: tuple[str, ...], value: object) -> None:
    done = shell("state", "set", *words, "--path", str(state))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    store = store_at(state)
    assert (store.get("k", "absent"), type(store.get("k"))) == (value, type(value))
    store.close()


def test_what_looks_like_json_and_is_none_is_stored_as_text_with_a_warning(shell: Shell, state: Path) -> None:
    done = shell("state", "set", "k", f'{{"{CANARY}": ', "--path", str(state))
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("propagul: warning: this is no JSON")
    assert CANARY not in done.stderr
    assert shell("state", "get", "k", "--raw", "--path", str(state)).stdout == f'{{"{CANARY}": '


def test_a_value_is_read_from_stdin(shell: Shell, state: Path) -> None:
    assert shell("state", "set", "k", "-", "--text", "--path", str(state), stdin="one\ntwo\n").returncode == 0
    assert shell("state", "get", "k", "--raw", "--path", str(state)).stdout == "one\ntwo"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("set", "", CANARY), 2),
        (("set", "k" * 2000, CANARY), 1),
        (("set", "k", f'{{"$bytes": "{CANARY}?"}}'), 2),
        (("set", "k", f'["{CANARY}", {10**30}]'), 2),
        (("set", "k", "[" * 40 + f'"{CANARY}"' + "]" * 40), 2),
        (("delete", ""), 1),
        (("get", "plan", "--type", "counter"), 1),
        (("get", "plan", "--at", "yesterday"), 2),
        (("get", "plan", "--at", "1999-01-01"), 1),
        (("conflicts", "plan", "--resolve", "oldest"), 2),
        (("compact", "--keep", "a while"), 2),
        (("import", "no-such-file"), 1),
        (("export", "no-such-directory/file"), 1),
        (("no-such-command",), 2),
    ],
)
def test_a_mistake_is_one_line_without_the_value(shell: Shell, state: Path, words: tuple[str, ...], code: int) -> None:
    assert CANARY not in shell.complaint("state", *words, code=code, PROPAGUL_STATE_PATH=str(state))


def test_deleting_takes_several_keys_and_fails_only_if_none_was_there(shell: Shell, state: Path) -> None:
    done = shell("state", "delete", "plan", "nope", "blob", "--path", str(state))
    assert (done.returncode, done.stderr) == (0, "propagul: warning: no value 'nope' in the store\n")
    assert shell("state", "list", "--path", str(state)).stdout.split()[:2] == ["value", r"bad\nkey\x1b"]


# --- which directory --------------------------------------------------------------------------------------------------


def test_a_directory_that_is_none_is_not_made(shell: Shell, state: Path) -> None:
    assert "no room.json" in shell.complaint("state", "list", "--path", "nowhere")
    assert not (shell.home / "nowhere").exists()
    assert f"did you mean {state}?" in shell.complaint("state", "list", "--path", str(shell.home))
    assert "--path DIR" in shell.complaint("state", "list")
    assert "did you mean PROPAGUL_STATE_PATH?" in shell.complaint("state", "list", PROPAGUL_STATE_PAHT="x")


def test_the_variable_is_known_to_the_other_commands(shell: Shell) -> None:
    assert shell("config", "show", PROPAGUL_STATE_PATH="x").returncode == 0


def test_the_fleets_libraries_are_not_needed(shell: Shell, state: Path) -> None:
    done = shell.python(WITHOUT_EXTRA, "state", "get", "plan", "--path", str(state))
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"step": 4}\n', "")


def test_looking_does_not_throw_the_kept_history_away(shell: Shell, state: Path) -> None:
    assert json.loads(shell("state", "stats", "--json", "--path", str(state)).stdout)["retention"] == "all"
    done = shell("state", "compact", "--path", str(state))
    assert done.returncode == 0, done
    kept = sorted(path.name for path in state.glob("log/*/history/*"))
    assert kept
    for words in (("get", "plan"), ("list",), ("stats",), ("set", "k", "1")):
        assert shell("state", *words, "--path", str(state)).returncode == 0
    assert sorted(path.name for path in state.glob("log/*/history/*")) == kept
    assert shell("state", "history", "plan", "--path", str(state)).stdout.count("\n") == 2
    assert shell("state", "compact", "--keep", "none", "--path", str(state)).returncode == 0
    assert not list(state.glob("log/*/history/*"))
    assert shell("state", "stats", "--path", str(state)).stdout.endswith("retention          none\n")


# --- beside a running process -----------------------------------------------------------------------------------------


@pytest.fixture
def live(shell: Shell, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, *getattr(request, "param", ())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=shell.environ({}), cwd=shell.home, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.stdin.close()
        process.wait(20)


def answer_of(process: subprocess.Popen[str], key: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{key}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_beside_a_running_process_its_values_are_read_and_ours_reach_it(
    shell: Shell, live: subprocess.Popen[str]
) -> None:
    assert shell("state", "get", "plan", "--path", "state").stdout == '{"step": 3}\n'
    assert shell("state", "verify", "--path", "state").returncode == 0
    assert shell("state", "history", "plan", "--path", "state").stdout.count("\n") == 1
    assert shell("state", "set", "from outside", "yes", "--path", "state").returncode == 0
    deadline = time.monotonic() + 20
    while (answer := answer_of(live, "from outside")) == "None" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer == "yes"
    assert f"process {live.pid}" in shell.complaint("state", "compact", "--path", "state", code=1)


@pytest.mark.parametrize("live", [("alone",)], indirect=True)
def test_a_process_that_is_alone_is_named_with_what_to_do(shell: Shell, live: subprocess.Popen[str]) -> None:
    line = shell.complaint("state", "get", "plan", "--path", "state", code=1)
    assert f"is in use by process {live.pid}: it keeps others out" in line
    assert "end that process" in line
    assert shell("state", "verify", "--path", "state").returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal on POSIX only")
def test_watching_prints_changes_as_json_until_ctrl_c(shell: Shell, live: subprocess.Popen[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fleet_app", "state", "watch", "w", "--path", "state"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=shell.home, text=True,
        env=shell.environ({"PYTHONWARNINGS": "error"}),
    ) as watcher:  # fmt: skip
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        assert "watching 'my-project'" in watcher.stderr.readline()
        for key, value in (("other", "1"), ("wanted", '{"a": 1}')):
            assert shell("state", "set", key, value, "--path", "state").returncode == 0
        told = json.loads(watcher.stdout.readline())
        watcher.send_signal(signal.SIGINT)
        _, complaint = watcher.communicate(timeout=20)
    assert (told["key"], told["value"], told["cause"]) == ("wanted", {"a": 1}, "remote")
    assert (watcher.returncode, complaint) == (0, "")
    assert answer_of(live, "plan") == "{'step': 3}"


def test_watching_inside_shows_the_rows_of_typed_structures_and_else_does_not() -> None:
    async def scenario() -> None:
        store = AgentStateStore(ROOM, port=None)
        plain, inside = store.watch(), store.watch(inside=True)
        seen = [asyncio.ensure_future(anext(watch)) for watch in (plain, inside)]
        await asyncio.sleep(0)
        store.counter("tokens").add(2)
        store.set("k", 1)
        changes = [await change for change in seen]
        assert changes[0].key == "k"
        assert described(store, changes[1])["key"] == "tokens"
        assert described(store, changes[1])["value"] == 2
        for watch in (plain, inside):
            await watch.aclose()  # type: ignore[attr-defined]
        store.close()

    asyncio.run(scenario())


# --- many keys --------------------------------------------------------------------------------------------------------


def test_a_list_names_everything_once_and_obeys_nothing(shell: Shell, state: Path) -> None:
    done = shell("state", "list", "--values", "--path", str(state))
    assert done.stdout.splitlines() == [
        r'value    bad\nkey\x1b = "x"',
        'value    blob = {"$bytes": "AP8="}',
        'map      conf = {"a": {"b": 1}, "d": {}}',
        'log      events = [{"n": 1}, "two"]',
        'value    plan = {"step": 4}',
        'set      tags = [{"$bytes": "Yw=="}, 7, "b"]',
        "counter  tokens = 812",
    ]
    assert shell("state", "list", "t", "--path", str(state)).stdout == "set      tags\ncounter  tokens\n"
    listed = json.loads(shell("state", "list", "t", "--json", "--values", "--path", str(state)).stdout)
    assert listed[1] == {"key": "tokens", "type": "counter", "value": 812}
    assert shell("state", "get", "tokens", "--path", str(state)).stdout == "812\n"


def test_the_past_is_read_by_time(shell: Shell, state: Path) -> None:
    versions = json.loads(shell("state", "history", "plan", "--json", "--path", str(state)).stdout)
    assert [(version["value"], version["cause"]) for version in versions] == [
        ({"step": 3}, "local"),
        ({"step": 4}, "local"),
    ]
    then = versions[0]["time"]
    assert shell("state", "get", "plan", "--at", then, "--path", str(state)).stdout == '{"step": 3}\n'
    done = shell("state", "list", "--values", "--at", then, "--path", str(state))
    assert done.stdout == 'value    plan = {"step": 3}\n'


def test_conflicts_are_shown_with_all_values_and_settled_by_number(shell: Shell, state: Path) -> None:
    assert shell("state", "conflicts", "--path", str(state)).stderr == "nothing is in conflict\n"
    with_conflict(state)
    lines = shell("state", "conflicts", "--path", str(state)).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["conf", "1", "2", "task", "1", "2"]
    assert [line.split()[-1] for line in lines[4:]] == ['"ours"', '"theirs"']
    told = json.loads(shell("state", "conflicts", "task", "--json", "--path", str(state)).stdout)
    assert len({sibling["origin"] for sibling in told[0]["siblings"]}) == 2
    assert "concurrent values" in shell("state", "get", "task", "--path", str(state)).stderr
    assert "2 values" in shell.complaint("state", "conflicts", "task", "--resolve", "3", "--path", str(state))
    assert shell("state", "conflicts", "task", "--resolve", "2", "--path", str(state)).returncode == 0
    assert shell("state", "get", "task", "--path", str(state)).stdout == '"theirs"\n'
    assert "'task'" in shell.complaint("state", "conflicts", "task", "--resolve", "1", "--path", str(state), code=1)


def test_the_statistics_are_those_of_the_store(shell: Shell, state: Path) -> None:
    told = json.loads(shell("state", "stats", "--json", "--path", str(state)).stdout)
    assert (told["room"], told["recovered_records"], told["conflicts"]) == (ROOM, 8, 0)
    assert f"room{' ' * 15}my-project" in shell("state", "stats", "--path", str(state)).stdout


# --- export and import ------------------------------------------------------------------------------------------------


def filled(path: Path) -> AgentStateStore:
    store = store_at(path)
    for key, value in VALUES.items():
        store.set(key, value)
    store.counter("up").add(2**63)
    store.counter("down").subtract(5)
    store.set_of("set").update([b"", b"\xff", -(2**63), 2**64 - 1, "", "über"])
    store.set_of("large").update(range(2500))
    store.log_of("log").extend(VALUES.values())
    store.log_of("long").extend(range(2500))
    for key, value in VALUES.items():
        if value == {} or not isinstance(value, dict):
            store.map_of("map").set(("leaf", key), value)
    store.map_of("wide").update({f"k{number}": {"n": number} for number in range(1200)})
    return store


def test_an_import_of_an_export_is_what_was_exported(tmp_path: Path) -> None:
    source, target = filled(tmp_path / "source"), store_at(tmp_path / "target")
    report = Exported()
    lines = list(export_lines(source, ROOM, report))
    assert (report.unreadable, report.keys) == ([], len(VALUES) + 8)
    assert all(line.isprintable() for line in lines)
    dry = import_lines(target, lines, dry_run=True)
    assert len(target) == 0
    done = import_lines(target, lines)
    assert (dry, done.unchanged, done.settled) == (done, 0, 0)
    shown = [[(held.name, held.type, repr(held.value())) for held in holdings(store)] for store in (source, target)]
    assert shown[0] == shown[1]
    assert [*source.log_of("log")] == [*target.log_of("log")]  # positions, times and origins too
    again = list(export_lines(target, ROOM, Exported()))
    assert again[1:] == lines[1:]
    source.close()
    target.close()


def test_a_second_import_writes_nothing_and_a_changed_value_is_written(tmp_path: Path) -> None:
    source, target = filled(tmp_path / "source"), store_at(tmp_path / "target")
    lines = list(export_lines(source, ROOM, Exported()))
    written = import_lines(target, lines).written
    records = target.stats.local_writes
    second = import_lines(target, lines)
    assert (second.written, second.unchanged, target.stats.local_writes) == (0, written, records)
    target.set("one", True)  # equal to 1, and not the same
    target.counter("down").add(1)
    target.set_of("set").add("more")
    third = import_lines(target, lines)
    assert (third.written, target.get("one"), int(target.counter("down"))) == (2, 1, -5)
    assert "more" in target.set_of("set")
    assert type(target.get("one")) is int
    source.close()
    target.close()


def test_a_conflict_is_exported_whole_and_is_one_again_where_it_is_imported(tmp_path: Path) -> None:
    with_conflict(tmp_path / "source")
    source, target = store_at(tmp_path / "source"), store_at(tmp_path / "target")
    lines = list(export_lines(source, ROOM, Exported()))
    conf, task = json.loads(lines[1]), json.loads(lines[2])
    assert [sibling["value"] for sibling in task["siblings"]] == ["ours", "theirs"]
    assert [sibling["value"] for sibling in conf["conflicts"][0]["siblings"]] == ["ours", "theirs"]
    assert import_lines(source, lines).written == 0
    assert source.get_conflicts("task") == ["ours", "theirs"]
    target.set("task", "what was there goes")
    dry = import_lines(target, lines, dry_run=True)
    assert target.get_conflicts("task") == []
    assert import_lines(target, lines) == dry == Imported(written=2)
    for store in (source, target):
        assert store.get_conflicts("task") == ["ours", "theirs"]
        (conflict,) = store.map_of("conf").conflicts()
        assert (conflict.path, conflict.values) == (("mode",), ["ours", "theirs"])
    assert import_lines(target, lines) == Imported(unchanged=2)
    target.set("task", "ours")
    assert import_lines(target, lines) == Imported(written=1, unchanged=1)
    source.close()
    target.close()
    again = store_at(tmp_path / "target")
    assert again.get_conflicts("task") == ["ours", "theirs"]
    again.set("task", "settled")
    assert again.get_conflicts("task") == []
    again.close()


def test_many_conflicts_of_many_values_are_imported_in_their_order_and_cost_one_origin_a_rank(tmp_path: Path) -> None:
    target = store_at(tmp_path)
    wanted = {f"k{number}": [None, number, {"n": [number]}, "x"][: 2 + number % 3] for number in range(1500)}
    header = dumps({"format": "propagul export", "version": 1, "room": ROOM, "time": "", "keys": 1500})
    lines = [
        dumps({"key": key, "type": "value", "siblings": [{"value": to_json(value)} for value in values]})
        for key, values in wanted.items()
    ]
    assert import_lines(target, [header, *lines, dumps({"end": 1500})]) == Imported(written=1500)
    assert {key: target.get_conflicts(key) for key in wanted} == wanted
    assert target.stats.origins == 1 + 3 * 2
    target.close()


def test_a_leaf_that_is_hidden_by_others_below_it_is_left_out_and_counted(tmp_path: Path) -> None:
    target = store_at(tmp_path)
    header = dumps({"format": "propagul export", "version": 1, "room": ROOM, "time": "", "keys": 1})
    hidden = {"path": ["a"], "siblings": [{"value": 1}], "hidden_by": ["a", "b"]}
    line = dumps({"key": "m", "type": "map", "value": {"a": {"b": 2}}, "conflicts": [hidden]})
    assert import_lines(target, [header, line, dumps({"end": 1})]) == Imported(written=1, settled=1)
    assert target.map_of("m").to_dict() == {"a": {"b": 2}}
    for broken in ([3], [{"path": 3, "siblings": [], "hidden_by": None}], [{"hidden_by": None}]):
        line = dumps({"key": "m", "type": "map", "value": {}, "conflicts": broken})
        with pytest.raises(LocalProtocolError, match="line 2"):
            import_lines(target, [header, line, dumps({"end": 1})])
    target.close()


def test_rows_larger_than_their_lines_are_written_in_smaller_transactions(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    name = "n" * 900
    lines = [dumps({"key": f"{name}{n}", "type": "set", "value": list(range(900))}) for n in range(24)]
    header = dumps({"format": "propagul export", "version": 1, "room": ROOM, "time": "", "keys": 24})
    assert import_lines(store, [header, *lines, dumps({"end": 24})]).written == 24 * 900
    assert len(store.set_of(f"{name}23")) == 900
    store.close()


def test_a_file_is_exported_and_imported_and_told_in_counts(shell: Shell, state: Path) -> None:
    done = shell("state", "export", "backup.jsonl", "--path", str(state))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "7 keys exported\n")
    assert (shell.home / "backup.jsonl").stat().st_mode & 0o077 == 0
    store_at(shell.home / "other").close()
    lines = [
        shell("state", "import", "backup.jsonl", *flags, "--path", "other").stdout for flags in (["--dry-run"], [], [])
    ]
    assert lines == ["11 to write, 0 already there\n", "11 written, 0 already there\n", "0 written, 11 already there\n"]
    piped = shell("state", "export", "-", "--path", "other").stdout
    assert piped.splitlines()[1:] == (shell.home / "backup.jsonl").read_text().splitlines()[1:]
    assert shell("state", "import", "-", "--path", str(state), stdin=piped).stdout == "0 written, 11 already there\n"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda lines: lines[1:], "line 1: this is no export"),
        (lambda _: ['{"format": "propagul export", "version": 2}'], "another version"),
        (lambda _: [], "line 1: this is no JSON"),
        (lambda lines: lines[:-1], "cut off after line 8"),
        (lambda lines: [*lines[:3], lines[-1]], "2 lines stand before the end"),
        (lambda lines: [lines[0], CANARY], "line 2: this is no JSON"),
        (lambda lines: [lines[0], f'["{CANARY}"]'], "line 2: this is no line of an export"),
        (lambda lines: [lines[0], f'{{"key": "k", "type": "{CANARY}"}}'], "line 2: a line has a key, a type"),
        (lambda lines: [lines[0], '{"key": "k", "type": "value"}'], "line 2, key 'k': it has no 'value'"),
        (lambda lines: [lines[0], f'{{"key": "", "type": "value", "value": "{CANARY}"}}'], "line 2, key '': a key is"),
        (lambda lines: [lines[0], '{"key": "k", "type": "set", "value": [[1]]}'], "line 2, key 'k': "),
        (lambda lines: [lines[0], '{"key": "k", "type": "log", "value": [{"position": "x"}]}'], "line 2, key 'k': "),
        (lambda lines: [lines[0], '{"key": "conf", "type": "map", "value": {"a": 1}}'], "line 2: "),
    ],
)  # fmt: skip
def test_a_spoilt_export_is_named_by_its_line_and_what_stood_before_is_kept(
    shell: Shell, state: Path, spoil: object, says: str
) -> None:
    lines = shell("state", "export", "-", "--path", str(state)).stdout.splitlines()
    text = "".join(f"{line}\n" for line in spoil(lines))  # type: ignore[operator]
    done = shell("state", "import", "-", "--path", str(state), stdin=text)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert says in done.stderr
    assert CANARY not in done.stderr


# --- verify -----------------------------------------------------------------------------------------------------------


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_whole_directory_has_no_faults_and_is_not_changed(shell: Shell, state: Path) -> None:
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    done = shell("state", "verify", "--path", str(state))
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 records, 11 keys, " in done.stdout
    assert done.stdout.endswith("no faults\n")
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before


def test_every_damaged_file_is_named_with_its_offset(shell: Shell, state: Path) -> None:
    (segment,) = state.glob("log/*/*.log")
    flip(segment, 100)
    done = shell("state", "verify", "--path", str(state))
    assert (done.returncode, done.stderr) == (1, f"propagul: {state} has 1 fault\n")
    assert f"FAULT: {segment} is damaged at byte 64" in done.stdout


def test_a_damaged_snapshot_and_a_lost_segment_are_named(shell: Shell, state: Path) -> None:
    assert shell("state", "compact", "--path", str(state)).returncode == 0
    store_at(state).close()
    (snapshot,) = state.glob("log/*/*.snap")
    assert [report.faults for report in verify(state)] == [[]]
    flip(snapshot, snapshot.stat().st_size // 2)
    (report,) = verify(state)
    assert len(report.faults) == 1
    assert f"{snapshot} is damaged at byte " in report.faults[0]
    flip(snapshot, snapshot.stat().st_size // 2)
    (segment,) = state.glob("log/*/*.log")
    store = store_at(state)
    store.set("more", 1)
    store.close()
    segment.rename(segment.with_name("00000009.log"))
    (report,) = verify(state)
    assert any("is gone" in fault for fault in report.faults)
    assert any("another name" in fault for fault in report.faults)


@pytest.mark.parametrize("rules", [{"owned": ("nodes/",)}, {"verify": "origin"}])
def test_a_row_that_does_not_prove_who_wrote_it_is_named_and_its_value_is_not(
    shell: Shell, tmp_path: Path, rules: dict[str, object]
) -> None:
    where = tmp_path / "room"
    store = store_at(where, **rules)
    store.set("honest", 1)
    store.set(f"nodes/{store.node}", 2)
    store.close()
    assert shell("state", "verify", "--path", str(where)).stdout.endswith("no faults\n")
    store = store_at(where)
    store._state.traffic.admit = lambda block: block  # as a program that believes everybody
    hand(store._state, plain_block("nodes/anybody", CANARY, Dot(Stamp(2**40), Origin(7))))
    store.close()
    done = shell("state", "verify", "--path", str(where))
    assert (done.returncode, done.stderr) == (1, f"propagul: {where} has 1 fault\n")
    assert ": 'nodes/anybody' " in done.stdout
    assert CANARY not in done.stdout


def test_an_unfinished_write_is_noted_and_is_no_fault(shell: Shell, state: Path) -> None:
    (segment,) = state.glob("log/*/*.log")
    with segment.open("ab") as file:
        file.write(b"\x01\x02\x03")
    done = shell("state", "verify", "--path", str(state))
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 bytes of an unfinished write" in done.stdout
