"""Where settings come from, what is refused, and that no secret shows."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from fleet_app.config import default_data_dir, load, load_data_dir, shown
from fleet_app.config.knobs import KNOBS, VARIABLES
from fleet_app.errors import ConfigError
from propagul.link.base import Address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet_app.config import Settings
    from fleet_app.config.knobs import Text

CANARY = "canary-secret-that-nobody-may-see"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


def refused(environ: Mapping[str, str] | None = None, file: Path | None = None, **flags: str | tuple[str, ...]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags, environ=environ or {}, config_file=file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_setting_has_a_default_that_works(tmp_path: Path) -> None:
    settings = load({}, environ={})
    assert settings.name
    assert settings.data_dir == default_data_dir() == tmp_path / ".local/share/propagul"
    assert (settings.listen, settings.gateway) == (Address("0.0.0.0", 8788), Address("127.0.0.1", 8787))
    assert (settings.listen_given, settings.gateway_given, settings.secret) == (False, False, None)
    assert set(settings.origins.values()) == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "name: from-file\nlisten: 127.0.0.1:3\ngateway: 127.0.0.1:3\nlog_format: json\n")
    environ = {"PROPAGUL_NAME": "from-environment", "PROPAGUL_LISTEN": "127.0.0.1:2"}
    settings = load({"name": "from-flag"}, environ=environ, config_file=file)
    assert (settings.name, settings.listen.port, settings.gateway.port) == ("from-flag", 2, 3)
    assert settings.origins["name"] == "flag --name"
    assert settings.origins["listen"] == "environment PROPAGUL_LISTEN"
    assert settings.origins["gateway"] == f"file {file}:3"
    assert settings.origins["mdns"] == "default"
    assert settings.listen_given
    assert settings.gateway_given


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("name", "Küche 1", "Küche 1"),
        ("listen", "[::1]:1", Address("::1", 1)),
        ("gateway", "localhost:9", Address("localhost", 9)),
        ("join", "tokenone, tokentwo", ("tokenone", "tokentwo")),
        ("backends", "http://a:1 http://b:2", ("http://a:1", "http://b:2")),
        ("detect", "no", False),
        ("mdns", "false", False),
        ("allow_plaintext", "1", True),
        ("log_format", "json", "json"),
    ],
)
def test_each_setting_reads_the_same_from_environment_and_file(
    tmp_path: Path, key: str, text: str, value: object
) -> None:
    by_environment = load({}, environ={KNOBS[key].variable: text})
    by_file = load({}, environ={}, config_file=written(tmp_path, f"{key}: '{text}'\n"))
    assert getattr(by_environment, key) == getattr(by_file, key) == value


def test_a_list_in_the_file_may_be_a_yaml_list_and_numbers_are_text(tmp_path: Path) -> None:
    settings = load(
        {}, environ={}, config_file=written(tmp_path, "name: 12\nbackends:\n  - a:1\n  - b:2\nmdns: false\n")
    )
    assert (settings.name, settings.backends, settings.mdns) == ("12", ("http://a:1", "http://b:2"), False)


def test_an_empty_variable_counts_as_unset_except_for_the_secret() -> None:
    assert not load({}, environ={"PROPAGUL_LISTEN": ""}).listen_given
    assert "at least 12" in refused({"PROPAGUL_GOSSIP_SECRET": ""})


def test_relative_paths_start_from_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path / "etc", "data_dir: ../var\n")
    assert load({}, environ={}, config_file=file).data_dir == tmp_path / "var"
    assert load({"data_dir": "here"}, environ={}, config_file=file).data_dir == tmp_path / "here"
    assert load({"data_dir": "~/there"}, environ={}).data_dir == tmp_path / "there"


def test_the_default_file_is_read_when_it_exists_and_a_named_one_must_exist(tmp_path: Path) -> None:
    (tmp_path / ".config/propagul").mkdir(parents=True)
    (tmp_path / ".config/propagul/config.yaml").write_text("name: from-default-file\n")
    assert load({}, environ={}).name == "from-default-file"
    other = written(tmp_path, "name: named\n")
    assert load({}, environ={"PROPAGUL_CONFIG": str(other)}).name == "named"
    assert "no such file" in refused(file=tmp_path / "absent.yaml")


def test_a_mistyped_key_names_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    file = written(tmp_path, "# boxes\nname: a\n\nlisen: 0.0.0.0:1\n")
    assert refused(file=file) == f"{file}:4: 'lisen' is no setting; did you mean listen?"


def test_a_mistyped_variable_names_the_nearest_one() -> None:
    assert (
        refused({"PROPAGUL_LISEN": "x"}) == "PROPAGUL_LISEN is no variable of Propagul; did you mean PROPAGUL_LISTEN?"
    )


def test_the_seven_variables_of_the_first_readme_are_recognised_and_shown() -> None:
    seven = (
        "KEY_SALT",
        "REDIS_URL",
        "GOSSIP_SECRET",
        "RESEND_API_KEY",
        "ALERT_EMAIL",
        "PUBLIC_HOST",
        "ALLOW_PLAINTEXT",
    )
    environ = {f"PROPAGUL_{name}": CANARY for name in seven if name != "ALLOW_PLAINTEXT"}
    environ |= {
        "PROPAGUL_ALLOW_PLAINTEXT": "true",
        "PROPAGUL_PUBLIC_HOST": "box.example",
        "PROPAGUL_ALERT_EMAIL": "a@b",
    }
    settings = load({}, environ=environ)
    rows = {row.key: row for row in shown(settings, environ)}
    assert set(environ) <= set(VARIABLES)
    assert settings.allow_plaintext
    assert rows["secret"].value == rows["PROPAGUL_REDIS_URL"].value == rows["PROPAGUL_KEY_SALT"].value == "***"
    assert rows["PROPAGUL_PUBLIC_HOST"].value == "box.example"
    assert "no effect" in rows["PROPAGUL_PUBLIC_HOST"].origin
    assert CANARY not in str(rows)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nname: b\n", ":2: name stands here a second time"),
        ("name: [a, b]\n", ":1: name: takes one value"),
        ("name: {a: b}\n", ":1: name: takes a plain value"),
        ("name: !!python/object/apply:os.system [id]\n", ":1: name: "),
        ("name: !mine x\n", ":1: name: takes a plain value"),
        ("- name\n", ":1: write one `key: value` a line"),
        ("name: a\n  listen: b\n", ":2: this is not YAML"),
        ("name: [a\n", "this is not YAML"),
        ("name:\n", ":1: name: has no value"),
        ("mdns: maybe\n", ":1: mdns: is neither true nor false"),
        ("log_format: xml\n", ":1: log_format: is neither text nor json"),
        ("backends: [http://a?k=1]\n", ":1: backends: "),
        ("name: a\n---\nname: b\n", "this is not YAML"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(file=written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    assert "UTF-8" in refused(file=path)
    path.write_bytes(b"name: a\x00b\n")
    assert "not YAML" in refused(file=path)
    path.write_bytes(b"[" * 100_000)
    assert "not YAML" in refused(file=path)
    path.write_bytes(b"#" * (2 << 20))
    assert "is over" in refused(file=path)
    assert "cannot be read" in refused(file=tmp_path)


@pytest.mark.parametrize("name", ["x" * 65, "a\x1b[31mb", "a\nb", "\u202eevil"])
def test_a_name_that_would_garble_a_table_is_refused(name: str) -> None:
    assert refused(name=name).startswith("--name: a name has 1 to 64 printable characters")


@pytest.mark.parametrize(
    "text",
    [
        "8788",
        ":8788",
        "a:",
        "a:b",
        "a:-1",
        "a:65536",
        "a:\uff18",
        "::1:8788",
        "[::1]",
        "[1.2.3.4]:1",
        "a b:1",
        "1.2.3:1",
        "300.1.1.1:1",
        "-a:1",
        "a..b:1",
        "[::1:1",
        "a:1:2",
        "http://a:1",
    ],
)
def test_an_address_that_is_none_is_refused_with_its_flag(text: str) -> None:
    assert refused(listen=text).startswith("--listen: ")


def test_a_gateway_open_to_the_network_is_refused_with_the_way_to_reach_it() -> None:
    for host in ("0.0.0.0", "[::]", "192.168.1.2", "box.lan"):
        assert "ssh -L 9000:127.0.0.1:9000 " in refused(gateway=f"{host}:9000")
    assert load({"gateway": "[::1]:1"}, environ={}).gateway.host == "::1"


def private(path: Path, content: bytes = CANARY.encode() + b"\n") -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def secret_of(settings: Settings) -> str | None:
    return settings.secret.get_secret_value() if settings.secret else None


def test_the_secret_is_the_same_from_file_and_environment(tmp_path: Path) -> None:
    path = private(tmp_path / "s", b"\xef\xbb\xbf" + CANARY.encode() + b" \r\n")
    assert secret_of(load({"secret_file": path}, environ={})) == CANARY
    assert secret_of(load({}, environ={"PROPAGUL_GOSSIP_SECRET": f"{CANARY}\n"})) == CANARY
    assert secret_of(load({}, environ={"PROPAGUL_SECRET_FILE": path})) == CANARY
    assert secret_of(load({}, environ={}, config_file=written(tmp_path, "secret_file: s\n"))) == CANARY


def test_a_secret_file_flag_beats_the_variable_which_beats_the_file(tmp_path: Path) -> None:
    path, environ = private(tmp_path / "s", b"x" * 12), {"PROPAGUL_GOSSIP_SECRET": CANARY}
    assert secret_of(load({"secret_file": path}, environ=environ)) == "x" * 12
    assert secret_of(load({}, environ=environ, config_file=written(tmp_path, "secret_file: s\n"))) == CANARY
    assert "both set" in refused({**environ, "PROPAGUL_SECRET_FILE": path})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_other_users_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    private(path)
    path.chmod(mode)
    assert f"run: chmod 600 {path}" in refused(secret_file=str(path))


def test_a_secret_that_is_absent_short_or_no_text_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refused(secret_file=str(tmp_path / "absent"))
    assert "at least 12" in refused(secret_file=private(tmp_path / "short", b"elevenchars\n"))
    assert "at least 12" in refused({"PROPAGUL_GOSSIP_SECRET": "elevenchars"})
    assert "UTF-8" in refused(secret_file=private(tmp_path / "binary", b"\xff" * 32))
    assert "is over" in refused(secret_file=private(tmp_path / "long", b"x" * 5000))


def test_no_secret_stands_in_repr_dump_or_show(tmp_path: Path) -> None:
    flags: dict[str, Text | None] = {"join": (CANARY,), "secret_file": private(tmp_path / "s")}
    settings = load(flags, environ={"PROPAGUL_KEY_SALT": CANARY})
    assert settings.join == (CANARY,)
    assert secret_of(settings) == CANARY
    for text in (repr(settings), str(settings), str(shown(settings, {"PROPAGUL_KEY_SALT": CANARY}))):
        assert CANARY not in text
    assert {row.key: row.value for row in shown(settings, {})}["join"] == "***"


@pytest.mark.parametrize(
    "text",
    [
        f"secret: {CANARY}\n",
        f"join: *{CANARY}\n",
        f"join: [{CANARY}\n",
        f"join: {{{CANARY}: 1}}\n",
        f'join: "{CANARY}\n',
        f"join: a\njoin: {CANARY}\n",
        f"join: !{CANARY} a\n",
        f"join: ['{CANARY} b']\n",
        f"name: [{CANARY}, b]\n",
    ],
)
def test_no_secret_stands_in_an_error_or_its_causes(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, environ={}, config_file=written(tmp_path, text))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_command_that_needs_the_data_directory_alone_is_not_stopped_by_other_settings(tmp_path: Path) -> None:
    environ = {"PROPAGUL_LISTEN": "nonsense", "PROPAGUL_DATA_DIR": str(tmp_path / "d")}
    assert load_data_dir({}, environ=environ) == tmp_path / "d"
    assert load_data_dir({"data_dir": str(tmp_path / "e")}, environ=environ) == tmp_path / "e"
