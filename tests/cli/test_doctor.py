"""`propagul doctor` as a person types it: what may be said to it, what it prints, how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fleet_app.cli.doctor import summary_of, target_of
from fleet_app.doctor.findings import Examination, blocked, note, ok, unknown
from fleet_app.errors import ConfigError
from propagul.link.base import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Shell

CANARY = "canary-secret-that-nobody-may-see-1234"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("box2", ("box2", 8788)),
        ("box2.lan:9000", ("box2.lan", 9000)),
        ("192.168.1.7", ("192.168.1.7", 8788)),
        ("192.168.1.7:1", ("192.168.1.7", 1)),
        ("fd00::7", ("fd00::7", 8788)),
        ("[fd00::7]", ("fd00::7", 8788)),
        ("[fd00::7]:9000", ("fd00::7", 9000)),
    ],
)
def test_an_address_may_leave_out_its_port(text: str, target: tuple[str, int]) -> None:
    assert target_of(text) == Address(*target)


@pytest.mark.parametrize("text", ["", "box:", "box:0", "box:99999", "fd00::7:x", "http://box", "a b", "[box]"])
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        target_of(text)


def test_what_is_said_wrongly_is_one_line_and_exit_2(shell: Shell) -> None:
    assert "box:x" in shell.complaint("doctor", "box:x")
    assert "--no-such" in shell.complaint("doctor", "--no-such")


def test_a_box_without_a_node_hears_the_one_thing_to_do(shell: Shell) -> None:
    done = shell("doctor", PROPAGUL_LISTEN="127.0.0.1:8788")
    assert (done.returncode, done.stderr) == (1, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "this box"
    assert lines[1].split() == ["NO", "node", "no", "node", "runs", "here"]
    assert lines[2].strip() == "-> propagul fleet up"
    assert lines[-1] == "In the way: node."


def test_each_address_is_looked_at_and_json_says_the_same(shell: Shell, free_port: Callable[[], int]) -> None:
    port = free_port()
    done = shell("doctor", "--json", f"127.0.0.1:{port}", "no-such-box.invalid", PROPAGUL_GOSSIP_SECRET=CANARY)
    assert (done.returncode, done.stderr) == (1, "")
    answer = json.loads(done.stdout)
    assert answer["healthy"] is False
    assert [(e["of"], e["findings"][-1]["subject"]) for e in answer["examinations"]] == [
        (f"127.0.0.1:{port}", "port"),
        ("no-such-box.invalid:8788", "address"),
    ]
    assert set(answer["examinations"][0]["findings"][0]) == {"subject", "verdict", "says", "remedy"}
    assert CANARY not in done.stdout


def test_propagul_mesh_has_it_too(shell: Shell) -> None:
    done = shell.python("import sys; from fleet_app.cli import mesh_main; sys.exit(mesh_main())", "doctor", "--help")
    assert done.returncode == 0
    assert "It changes nothing." in " ".join(done.stdout.split())


def test_the_last_line_names_what_stands_in_the_way_and_nothing_else() -> None:
    well = Examination(of="a", findings=(ok("port", "open"), note("clock", "late"), unknown("firewall", "who knows")))
    ill = Examination(of="b", findings=(blocked("secret", "differs", "do"), blocked("secret", "differs", "do")))
    assert summary_of([well]) == "Nothing stands in the way."
    assert summary_of([well, ill]) == "In the way: secret."
