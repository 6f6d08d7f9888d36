"""The places a setting can come from, asked in their order: flag, environment, file.

Every complaint is one line that begins with its place: `--listen`, `PROPAGUL_LISTEN` or `/etc/p.yaml:3: listen`.
Unknown keys and variables are errors, so that a typo never becomes a default. No message and no cause of an error holds
any part of a secret, which is why parsers' own messages, which quote what they read, are not passed on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import platformdirs
from pydantic import SecretStr
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet_app.config.knobs import CONFIG_VARIABLE, KNOBS, SECRET_VARIABLE, VARIABLES, Text
from fleet_app.errors import ConfigError, did_you_mean
from fleet_app.yaml_nodes import composed
from propagul._system import read_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet_app.config.knobs import Backend

SECRET_CHARACTERS_MIN = 12
_SECRET_BYTES_MAX = 4096
_FILE_BYTES_MAX = 1 << 20
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "bool", "int", "float", "null", "timestamp")}


class Given(NamedTuple):
    """A text that someone wrote.

    Attributes:
        text: What stood there.
        origin: Where, in words.
        blame: Where, as the head of a complaint.
        base: The directory that a relative path in it starts from.
    """

    text: Text
    origin: str
    blame: str
    base: Path


class Sources:
    """All that was said about this run.

    Raises:
        ConfigError: A variable or key is unknown, or the file cannot be read.
    """

    def __init__(self, flags: Mapping[str, Text | None], environ: Mapping[str, str], config_file: Path | None) -> None:
        for variable in environ:
            if variable.startswith("PROPAGUL_") and variable not in VARIABLES:
                raise ConfigError(f"{variable} is no variable of Propagul{did_you_mean(variable, VARIABLES)}")
        self._flags, self._environ = flags, environ
        path, is_named = config_file_of(config_file, environ)
        self._file = _read_file(path, must_exist=is_named)

    def find(self, key: str) -> Given | None:
        """Return the text that counts for `key`, or None when nobody wrote one."""
        knob = KNOBS[key]
        if flag := self._flags.get(key):
            return Given(flag, f"flag {knob.flag}", knob.flag, Path.cwd())
        variable = self._environ.get(knob.variable, "")
        if variable.strip():
            return Given(variable, f"environment {knob.variable}", knob.variable, Path.cwd())
        return self._file.get(key)

    def value(self, key: str) -> object:
        """Return the effective value of `key`.

        Raises:
            ConfigError: What was written cannot be read; names the place.
        """
        given = self.find(key)
        if given is None:
            return KNOBS[key].default()
        try:
            return KNOBS[key].read(given.text, given.base)
        except ConfigError as problem:
            raise ConfigError(f"{given.blame}: {problem}") from None

    def origin(self, key: str) -> str:
        """Return where the value of `key` came from, in words."""
        given = self.find(key)
        return "default" if given is None else given.origin

    def backends(self) -> tuple[tuple[str, ...], dict[str, SecretStr]]:
        """Return the addresses of the named engines, and the API keys of those that want one.

        Raises:
            ConfigError: An address is wrong, or a key's file is not private or holds no key.
        """
        named, given = cast("tuple[Backend, ...]", self.value("backends")), self.find("backends")
        keys = {url: _read_key(file, given.blame) for url, file in named if file is not None and given is not None}
        return tuple(backend.url for backend in named), keys

    def secret(self) -> tuple[SecretStr | None, str]:
        """Return the room's secret and where it came from.

        Raises:
            ConfigError: It is too short, its file is not private, or two places of one rank name one each.
        """
        given, variable = self.find("secret_file"), self._environ.get(SECRET_VARIABLE)
        if variable is not None and (given is None or not given.origin.startswith("flag")):
            if given is not None and given.origin.startswith("environment"):
                raise ConfigError(f"{SECRET_VARIABLE} and {given.blame} are both set; unset one of them")
            return _checked_secret(variable, SECRET_VARIABLE), f"environment {SECRET_VARIABLE}"
        if given is None:
            return None, "default"
        path = self.value("secret_file")
        assert isinstance(path, Path)
        return _checked_secret(_read_secret(path, given.blame), str(path)), f"{given.origin} ({path})"


def default_config_file() -> Path:
    """Where the file is looked for when nobody names one; it need not exist."""
    return Path(platformdirs.user_config_dir("propagul", appauthor=False)) / "config.yaml"


def config_file_of(flag: Path | None, environ: Mapping[str, str]) -> tuple[Path, bool]:
    """Return which file is read, and whether somebody named it: such a one must exist."""
    named = flag or _path_or_none(environ.get(CONFIG_VARIABLE, ""))
    return named or default_config_file(), named is not None


def _path_or_none(text: str) -> Path | None:
    return Path(text.strip()).absolute() if text.strip() else None


def _checked_secret(text: str, blame: str) -> SecretStr:
    secret = text.strip()
    if len(secret) < SECRET_CHARACTERS_MIN:
        remedy = "make one with: openssl rand -base64 32"
        raise ConfigError(f"{blame}: a secret needs at least {SECRET_CHARACTERS_MIN} characters; {remedy}")
    return SecretStr(secret)


def _read_key(path: Path, blame: str) -> SecretStr:
    key = _read_secret(path, blame).strip()
    if not key or not key.isprintable() or not key.isascii():
        raise ConfigError(f"{blame}: {path} holds no API key; write it there on one line")
    return SecretStr(key)


def _read_secret(path: Path, blame: str) -> str:
    try:
        text = read_private(path, bytes_max=_SECRET_BYTES_MAX + 1)
    except OSError as problem:
        raise ConfigError(f"{blame}: cannot read {path}: {problem.strerror}") from None
    if len(text) > _SECRET_BYTES_MAX:
        raise ConfigError(f"{blame}: {path} is over {_SECRET_BYTES_MAX} bytes; a secret is one short line")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{blame}: {path} is not text in UTF-8") from None


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Given]:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file") from None
        return {}
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read: {problem.strerror}") from None
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"{path}: is over {_FILE_BYTES_MAX} bytes, which no config file is")
    return _keys_of(composed(content, str(path)), path)


def _keys_of(root: Node | None, path: Path) -> dict[str, Given]:
    if root is None:
        return {}
    if not isinstance(root, MappingNode):
        raise ConfigError(f"{path}:{root.start_mark.line + 1}: write one `key: value` a line")
    found: dict[str, Given] = {}
    for key_node, value_node in root.value:
        place = f"{path}:{key_node.start_mark.line + 1}"
        key = str(key_node.value) if isinstance(key_node, ScalarNode) else ""
        if key not in KNOBS:
            raise ConfigError(f"{place}: {key[:64]!r} is no setting{did_you_mean(key, KNOBS)}")
        if key in found:
            raise ConfigError(f"{place}: {key} stands here a second time; keep one")
        blame = f"{place}: {key}"
        found[key] = Given(_text_of(value_node, key, blame), f"file {place}", blame, path.absolute().parent)
    return found


def _text_of(node: Node, key: str, blame: str) -> Text:
    if isinstance(node, SequenceNode):
        return tuple(_backend(item, blame) if key == "backends" else _scalar(item, blame) for item in node.value)
    return _scalar(node, blame)


def _backend(node: Node, blame: str) -> str:
    """An engine's address, alone or with the file of its key, in the form of the command line."""
    if not isinstance(node, MappingNode):
        return _scalar(node, blame)
    fields = {_scalar(key, blame): _scalar(value, blame) for key, value in node.value}
    if fields.keys() != {"url", "key_file"}:
        raise ConfigError(f"{blame}: write an engine as its address, or as {{url: ADDRESS, key_file: FILE}}")
    return f"{fields['url']}={fields['key_file']}"


def _scalar(node: Node, blame: str) -> str:
    if not isinstance(node, ScalarNode) or str(node.tag) not in _PLAIN_TAGS:
        raise ConfigError(f"{blame}: takes a plain value or a list of them")
    return str(node.value)
