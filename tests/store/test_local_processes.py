"""Several processes on one directory: what one logged all have, one of them speaks for all, and any of them may die."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from propagul import AgentStateStore, GossipConfig
from propagul.errors import StoreError
from propagul.store._siblings import _events_beside
from tests.log.processes import Nursery, at_once
from tests.store.world import OTHER_SECRET, ROOM, SECRET, address, loopback, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.log.processes import Process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets and forks")

WORKER = """
import asyncio, os, warnings
from pathlib import Path
from propagul import LocalProtocolError
from tests.store.world import loopback
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is what is tested
path, port = arguments

def forked():
    # What a child finds wrong that uses the store it inherited: 0 for nothing.
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    writes = [lambda: store.set("k", "x"), lambda: store.set("k", [1]), lambda: store.delete("k"),
              lambda: store.counter("n").add(1), store.start_background]
    for number, write in enumerate(writes):
        try:
            write()
        except LocalProtocolError as error:
            if "opened by the process that this one was forked from" in str(error):
                continue
        os._exit(1 + number)
    if store.get("k") != "parent":
        os._exit(100)
    store.close()
    os._exit(0)

store = loopback(f"process {os.getpid()}", path=Path(path), port=int(port))
say("open")
for line in lines:
    if not line.strip():
        break
    try:
        said = eval(line)
    except Exception as error:
        said = error
    say(repr(said))
store.close()
say("closed")
"""


WRITER = """
import itertools, os
from pathlib import Path
from tests.store.world import loopback
store = loopback(os.getpid(), path=Path(arguments[0]))
store.start_background()
next(lines)
for number in itertools.count():
    store.set(f"k{os.getpid()}/{number}", "x" * (number % 3000))
    store.counter("n").add(1)
    say(number)
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def remote() -> Iterator[AgentStateStore]:
    store = loopback("remote")
    store.start_background()
    yield store
    store.close()


def eventually(condition: Callable[[], object], deadline_s: float = 30.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def heard(processes: list[Process]) -> None:
    assert [process.hear() for process in processes] == ["open"] * len(processes)


def peer_of(store: AgentStateStore) -> str:
    return f"store.start_background(peers=[{address(store)!r}]).complete"


def logs_in(path: Path) -> list[Path]:
    return [log for log in (path / "log").iterdir() if log.is_dir()]


def reopened(path: Path, *, alone: bool = False) -> AgentStateStore:
    return AgentStateStore(ROOM, port=None, path=path, secret=SECRET, alone=alone)


# --- running together ------------------------------------------------------------------------------------------------


def test_four_processes_are_one_member_and_all_see_what_any_wrote(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    with nursery.processes(4, WORKER, str(tmp_path), "0") as workers:
        heard(workers)
        assert at_once(workers, peer_of(remote)) == ["True"] * 4
        doors = [worker.ask("store.stats.door") for worker in workers]
        holder = workers[doors.index("'this process'")]
        assert sorted(doors) == sorted(["'this process'"] + [f"'process {holder.pid}'"] * 3)
        assert [worker.ask("len(store.addresses)") for worker in workers].count("1") == 1
        for number, worker in enumerate(workers):
            worker.tell(f"[store.set(f'k{number}/{{k}}', k) for k in range(500)] and store.counter('n').add({number})")
        for worker in workers:
            worker.hear()
        eventually(lambda: [worker.ask("len(store.get_all('k'))") for worker in workers] == ["2000"] * 4)
        eventually(lambda: len(remote.get_all("k")) == 2000)
        eventually(lambda: [worker.ask("store.counter('n').value") for worker in workers] == ["6"] * 4)
        assert (len(remote.members()), len(remote.linked())) == (1, 1)
        assert [worker.ask("len(store.linked())") for worker in workers].count("1") == 1
        remote.set("from elsewhere", True)
        eventually(lambda: [worker.ask("'from elsewhere' in store") for worker in workers] == ["True"] * 4)
        assert [worker.ask("store.troubles()") for worker in workers] == ["[]"] * 4


def test_any_process_can_wait_until_another_machine_has_its_writes(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    with nursery.processes(2, WORKER, str(tmp_path), "0") as workers:
        heard(workers)
        for worker in workers:
            worker.ask(peer_of(remote))
        without = next(worker for worker in workers if worker.ask("store.stats.door") != "'this process'")
        without.ask("store.set('k', 'v')")
        assert without.ask("asyncio.run(store.flush(peers=1))") == "None"
        assert remote.get("k") == "v"
        refused = without.ask("asyncio.run(store.flush(peers=2, timeout_s=0.3))")
        assert refused.startswith("NotReplicated('1 of 2 peers")


def test_who_waits_for_another_machine_waits_for_no_rest_between_pushes(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    knobs = ("process_push_interval_s", "process_push_interval_s_max", "process_patience_s")
    patient = f"import dataclasses\nfrom tests.store.world import FAST\nknobs = dict.fromkeys({knobs}, 60.0)\n{WORKER}"
    patient = patient.replace("port=int(port))", "port=int(port), config=dataclasses.replace(FAST, **knobs))")
    with nursery.processes(2, patient, str(tmp_path), "0") as workers:
        heard(workers)
        for worker in workers:
            worker.ask(peer_of(remote))
        holder, other = sorted(workers, key=lambda worker: worker.ask("store.stats.door") != "'this process'")
        other.ask("store.set('first', 1)")
        eventually(lambda: holder.ask("'first' in store") == "True")
        other.ask("store.set('second', 2)")
        assert other.ask("asyncio.run(store.flush(peers=1))") == "None"
        assert remote.get("second") == 2


def test_when_the_holder_of_the_door_is_killed_another_takes_port_and_peers_and_nothing_is_lost(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with nursery.processes(3, WORKER, str(tmp_path), str(port)) as workers:
        heard(workers)
        for worker in workers:
            worker.ask(peer_of(remote))
        holder = next(worker for worker in workers if worker.ask("store.stats.door") == "'this process'")
        left = [worker for worker in workers if worker is not holder]
        assert holder.ask("[store.set(f'k{n}', n) for n in range(300)] and store.counter('n').add(5)") == "None"
        holder.kill()
        eventually(lambda: "'this process'" in [worker.ask("store.stats.door") for worker in left])
        eventually(lambda: [worker.ask("len(store.get_all('k'))") for worker in left] == ["300"] * 2)
        eventually(lambda: len(remote.linked()) == 1 and len(remote.get_all("k")) == 300)
        eventually(lambda: remote.counter("n").value == 5)  # the killed one's last write may come with its adopted log

        async def others_get_in_or_not() -> None:
            stranger, newcomer = loopback("stranger", secret=OTHER_SECRET), loopback("newcomer")
            assert not (await stranger.start(peers=[("127.0.0.1", port)], sync_timeout_s=1)).complete
            assert (await newcomer.start(peers=[("127.0.0.1", port)])).complete
            assert len(newcomer.get_all("k")) == 300
            assert len(stranger) == 0
            await stranger.stop()
            await newcomer.stop()

        run(others_get_in_or_not)


def test_a_process_that_leaves_in_peace_hands_the_door_on(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    with nursery.processes(2, WORKER, str(tmp_path), "0") as workers:
        heard(workers)
        for worker in workers:
            worker.ask(peer_of(remote))
        holder, other = sorted(workers, key=lambda worker: worker.ask("store.stats.door") != "'this process'")
        holder.ask("store.set('last words', 1)")
        assert holder.ask() == "closed"
        eventually(lambda: other.ask("store.stats.door") == "'this process'")
        eventually(lambda: other.ask("len(store.linked())") == "1")
        assert remote.get("last words") == 1
        eventually(lambda: other.ask("store.stats.logs_adopted") == "1")
        assert len(logs_in(tmp_path)) == 1


def test_who_gets_the_door_later_dials_the_peers_it_was_given_itself(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    with nursery.processes(2, WORKER, str(tmp_path), "0") as (first, second):
        heard([first, second])
        first.ask("store.start_background()")
        assert second.ask(peer_of(remote)) == "True"
        assert remote.linked() == frozenset()
        first.kill()
        eventually(lambda: second.ask("len(store.linked())") == "1")


def test_a_start_that_failed_leaves_the_door_to_others(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(2, WORKER, str(tmp_path), "0") as (first, second):
        heard([first, second])
        assert "SyncTimeout" in first.ask("store.start_background(sync_timeout_s=0.1, require_peers=1)")
        second.ask("store.start_background()")
        assert second.ask("store.stats.door") == "'this process'"
        first.ask("store.set('k', 1)")
        first.ask("store.start_background()")
        eventually(lambda: second.ask("store.get('k')") == "1")


def test_a_process_without_the_door_starts_when_it_has_what_the_holder_has(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    with nursery.processes(2, WORKER, str(tmp_path), "0") as (first, second):
        heard([first, second])
        first.ask(peer_of(remote))
        remote.set("k", 1)
        eventually(lambda: first.ask("store.get('k')") == "1")
        report = second.ask(f"store.start_background(peers=[{address(remote)!r}], require_peers=2)")
        assert f"address='process {first.pid}'" in report
        assert "caught_up=True" in report
        assert second.ask("store.get('k')") == "1"


def test_the_port_is_opened_when_it_is_free_and_until_then_that_is_said(
    nursery: Nursery, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with nursery.processes(2, WORKER, str(tmp_path), str(port)) as workers:
        heard(workers)
        workers[0].ask("store.start_background()")
        workers[1].ask("store.start_background()")
        assert "is taken by another program" not in workers[1].ask("store.troubles()")
        workers[0].kill()
        blocker = loopback("another program", port=port)
        blocker.start_background()
        eventually(lambda: "is taken by another program" in workers[1].ask("store.troubles()"))
        blocker.close()
        eventually(lambda: workers[1].ask("len(store.addresses)") == "1")
        eventually(lambda: workers[1].ask("store.troubles()") == "[]")


def test_a_process_says_who_holds_the_door_if_it_is_not_linked_with_it(nursery: Nursery, tmp_path: Path) -> None:
    with nursery.processes(2, WORKER, str(tmp_path), "0") as (first, second):
        heard([first, second])
        first.ask("store._disk.directory.try_door()")
        assert f"address='process {first.pid}'" in second.ask("store.start_background(sync_timeout_s=0.3)")
        assert f"process {first.pid} holds the door" in second.ask("store.troubles()")


def test_every_write_that_two_killed_processes_acknowledged_survives_and_none_counts_twice(
    nursery: Nursery, tmp_path: Path
) -> None:
    acknowledged: dict[int, int] = {}
    for life in range(4):
        with nursery.processes(2, WRITER, str(tmp_path)) as writers:
            for writer in writers:
                writer.tell()
            for victim in (writers[life % 2], writers[1 - life % 2]):
                last = int(victim.hear())
                while last < 150 * (1 + life % 2):
                    last = int(victim.hear())
                victim.kill()
                acknowledged[victim.pid] = last
    store = reopened(tmp_path)
    assert [pid for pid, last in acknowledged.items() if f"k{pid}/{last}" not in store] == []
    missing = [(pid, n) for pid, last in acknowledged.items() for n in range(last) if f"k{pid}/{n}" not in store]
    assert missing == []
    written, counted = len(store.get_all("k")), store.counter("n").value
    assert sum(acknowledged.values()) + len(acknowledged) <= counted <= written <= counted + len(acknowledged)
    assert len(logs_in(tmp_path)) == 1
    store.close()


@pytest.mark.parametrize("copy", [shutil.copytree, lambda *paths: subprocess.run(["cp", "-r", *paths], check=True)])
def test_an_ordinary_copy_of_a_directory_in_use_is_a_backup(
    nursery: Nursery, tmp_path: Path, copy: Callable[[Path, Path], object]
) -> None:
    with nursery.processes(2, WORKER, str(tmp_path / "state"), "0") as workers:
        heard(workers)
        for number, worker in enumerate(workers):
            worker.ask("store.start_background()")
            worker.ask(f"store.set('k{number}', {number})")
        eventually(lambda: [worker.ask("len(store)") for worker in workers] == ["2", "2"])
        copy(tmp_path / "state", tmp_path / "backup")
        with contextlib.closing(loopback("restored", path=tmp_path / "backup")) as restored:
            assert restored.get_all() == {"k0": 0, "k1": 1}
            restored.start_background()
            workers[0].ask("store.set('later', 1)")
            eventually(lambda: workers[1].ask("'later' in store") == "True")
            assert "later" not in restored


# --- the logs of others ----------------------------------------------------------------------------------------------


def test_what_a_process_wrote_that_was_never_started_reaches_the_running_ones_when_it_ends(
    nursery: Nursery, remote: AgentStateStore, tmp_path: Path
) -> None:
    with nursery.processes(1, WORKER, str(tmp_path), "0") as (agent,):
        heard([agent])
        agent.ask(peer_of(remote))
        agent.ask("store.set('of the agent', 1)")
        command = reopened(tmp_path)
        assert command.get("of the agent") == 1
        command.set("of the command", 2)
        command.close()
        eventually(lambda: agent.ask("store.get('of the command')") == "2")
        eventually(lambda: remote.get("of the command") == 2)
        eventually(lambda: len(logs_in(tmp_path)) == 1)


def test_what_was_adopted_is_announced_at_once(tmp_path: Path) -> None:
    patient = GossipConfig(presence_interval_s=0.1, pulse_interval_s=60, silence_s_max=200)
    elsewhere, agent = loopback("elsewhere", config=patient), loopback("agent", path=tmp_path, config=patient)
    elsewhere.start_background()
    agent.start_background(peers=[address(elsewhere)])
    command = reopened(tmp_path)
    command.set("k", 1)
    command.close()
    eventually(lambda: elsewhere.get("k") == 1, deadline_s=20)
    agent.close()
    elsewhere.close()


def test_opening_beside_a_running_process_does_not_make_the_log_grow(tmp_path: Path) -> None:
    with_log = reopened(tmp_path)
    for number in range(100):
        with_log.set(f"k{number}", "x" * 100)
    sizes = []
    for _ in range(4):
        command = reopened(tmp_path)
        assert len(command) == 100
        sizes.append(command._disk.log.recovery.records)  # type: ignore[union-attr]
        command.close()
    with_log.close()
    assert sizes[1:] == [sizes[1]] * 3


def test_twenty_logs_of_processes_that_are_gone_become_one(tmp_path: Path) -> None:
    stores = [reopened(tmp_path) for _ in range(20)]
    for number, store in enumerate(stores):
        store.set(f"k{number}", number)
        store.set("contested", number)
        store.counter("n").add(number)
        store.delete(f"k{number - 1}")
    for store in stores:
        store.close()
    assert len(logs_in(tmp_path)) == 20
    for alone in (True, False):
        store = reopened(tmp_path, alone=alone)
        assert {key: store.get(key) for key in store.get_all("k")} == {f"k{number}": number for number in range(20)}
        assert store.counter("n").value == sum(range(20))
        assert len(store.get_conflicts("contested")) == 20
        assert len(logs_in(tmp_path)) == 1
        store.close()


VANISHING: list[Path] = []
"""A directory that is removed in the moment in which it is about to be listed, as another process may remove it."""


def remove_what_is_listed(event: str, details: tuple[object, ...]) -> None:
    if event in ("os.scandir", "os.listdir") and VANISHING and str(details[0]) == str(VANISHING[0]):
        shutil.rmtree(VANISHING.pop())


def test_a_log_that_vanishes_in_the_moment_in_which_it_is_read_is_an_error_that_is_tried_again(tmp_path: Path) -> None:
    sys.addaudithook(remove_what_is_listed)
    writer, reader = reopened(tmp_path), reopened(tmp_path)
    writer.set("k", 1)
    assert writer._disk is not None
    path = writer._disk.directory.log_path
    shutil.copytree(path, tmp_path / "kept")
    VANISHING.append(path)
    with pytest.raises(StoreError, match=r"cannot be read beside its writer|was adopted meanwhile"):
        list(_events_beside(path))
    assert not path.exists()
    (tmp_path / "kept").rename(path)
    writer.close()
    reader.close()


def test_two_processes_that_adopt_at_once_lose_nothing_and_double_nothing(nursery: Nursery, tmp_path: Path) -> None:
    for life in range(3):
        stores = [reopened(tmp_path) for _ in range(8)]
        for store in stores:
            store.counter("n").add(1)
            for number in range(50):
                store.log_of("entries").append(number)
        for store in stores:
            store.close()
        with nursery.processes(2, WORKER, str(tmp_path), "0") as workers:
            heard(workers)
            for worker in workers:
                assert worker.ask("store.counter('n').value") == str(8 * (life + 1))
                assert worker.ask("len(store.log_of('entries'))") == str(400 * (life + 1))
    last = reopened(tmp_path)
    assert last.counter("n").value == 24
    assert len(last.log_of("entries")) == 1200
    assert len(logs_in(tmp_path)) == 1
    last.close()


def test_a_log_that_was_joined_and_not_removed_is_joined_again_without_effect(tmp_path: Path) -> None:
    """What a crash between the two leaves."""
    first, second = reopened(tmp_path), reopened(tmp_path)
    for store in (first, second):
        store.counter("n").add(2)
        store.set("k", 1)
    orphan = second._disk.directory.log_path  # type: ignore[union-attr]
    second.close()
    first.close()
    shutil.copytree(orphan, tmp_path / "kept")
    adopter = reopened(tmp_path)
    adopter.delete("k")
    adopter.close()
    (kept,) = logs_in(tmp_path)
    if kept.name != orphan.name:
        shutil.copytree(tmp_path / "kept", orphan)
    again = reopened(tmp_path)
    assert again.counter("n").value == 4
    assert "k" not in again
    again.close()


def test_removals_and_raised_floors_of_another_log_hold_here(tmp_path: Path) -> None:
    first, second = reopened(tmp_path), reopened(tmp_path)
    first.set("kept", 1)
    for number in range(300):
        first.set(f"k{number}", number)
    second._siblings.take_in()  # type: ignore[union-attr]
    assert len(second) == 301
    for number in range(300):
        first.delete(f"k{number}")
    for _ in range(4):
        first._spaces[""].tidy(lambda _: True)
    assert first.stats.removal_records < 300
    first._disk.compact()  # type: ignore[union-attr]
    first.set("after", 2)
    second._siblings.take_in()  # type: ignore[union-attr]
    assert second.get_all() == {"kept": 1, "after": 2}
    first.close()
    second.close()
    third = reopened(tmp_path)
    assert third.get_all() == {"kept": 1, "after": 2}
    third.close()


def test_a_damaged_log_of_another_process_is_named_and_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = reopened(tmp_path), reopened(tmp_path)
    first.set("large", "x" * 10_000)
    for number in range(10):
        second.set(f"k{number}", number)
    log = second._disk.directory.log_path  # type: ignore[union-attr]
    first.close()
    second.close()
    (segment,) = log.glob("*.log")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    store = reopened(tmp_path)
    assert "is damaged" in store.troubles()[0]
    assert store.get("large") == "x" * 10_000
    caplog.clear()
    for _ in range(100):
        store._siblings.adopt(store._disk.directory.others())  # type: ignore[union-attr]
    assert 4 < len(caplog.messages) < 10, "it is read again, and ever less often"
    store.close()
    assert segment.read_bytes() == content


# --- forks -----------------------------------------------------------------------------------------------------------


def test_a_store_that_a_fork_inherited_refuses_to_write_and_the_parents_goes_on(
    nursery: Nursery, tmp_path: Path
) -> None:
    with nursery.processes(1, WORKER, str(tmp_path), "0") as (worker,):
        heard([worker])
        worker.ask("store.start_background()")
        worker.ask("store.set('k', 'parent')")
        assert worker.ask("forked()") == "0"
        assert worker.ask("store.set('k', 'parent again')") == "None"
        assert worker.ask("store.get('k')") == "'parent again'"
