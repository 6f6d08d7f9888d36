"""What a node is told: flags, then environment, then one YAML file, then defaults.

`load` is the only way to a `Settings`. Each value keeps its origin, and `shown` is what `propagul config show` prints,
secrets as `***`. The table of settings stands in `knobs`, the places they come from in `sources`.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic resolves the annotations
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from fleet_app.config.knobs import KNOBS, NOT_USED_YET, SECRET_VARIABLE, Text, default_data_dir
from fleet_app.config.reload import Reload
from fleet_app.config.sources import Sources, config_file_of, default_config_file
from fleet_app.errors import ConfigError
from propagul.link.base import Address  # noqa: TC001 - pydantic resolves the annotations

__all__ = [
    "Reload",
    "Settings",
    "Shown",
    "default_config_file",
    "default_data_dir",
    "load",
    "load_data_dir",
    "reloading",
    "shown",
]

HIDDEN = "***"


class Settings(BaseModel):
    """The effective settings of a node.

    Attributes:
        name: What people call this box: 1 to 64 printable characters.
        data_dir: Where identity, log and admin token live; absolute.
        listen: Where other nodes connect.
        listen_given: Whether someone chose it; only a default may move to a free port.
        gateway: Where people and programs connect; always loopback.
        gateway_given: Like `listen_given`.
        join: Invite tokens to redeem; each is a secret.
        secret: The room's secret, when this node is given it.
        backends: Addresses of engines, in the form that `fleet_app.backends` keeps; no credentials stand in them.
        backend_keys: API keys of those that want one, by address.
        detect: Whether to look for engines on this machine.
        desired: A file of what should be there that this node declares; absolute.
        watch: Whether it declares that again whenever the file changes.
        mdns: Whether to look for nodes on the LAN.
        allow_plaintext: For stores of the library without a secret. A fleet always has one, so a node ignores it.
        log_format: `text` for people, `json` for programs.
        origins: Where each value came from, in words.
        reload: Reads the file again while the node runs; None where nobody watches it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)

    name: str
    data_dir: Path
    listen: Address
    listen_given: bool = False
    gateway: Address
    gateway_given: bool = False
    join: tuple[str, ...] = Field(default=(), repr=False)
    secret: SecretStr | None = None
    backends: tuple[str, ...] = ()
    backend_keys: Mapping[str, SecretStr] = Field(default_factory=dict, repr=False)
    detect: bool = True
    desired: Path | None = None
    watch: bool = False
    mdns: bool = True
    allow_plaintext: bool = False
    log_format: Literal["text", "json"] = "text"
    origins: Mapping[str, str] = Field(default_factory=dict, repr=False)
    reload: Reload | None = Field(default=None, repr=False, exclude=True)


class Shown(NamedTuple):
    """One line of `propagul config show`."""

    key: str
    value: str
    origin: str


def load(flags: Mapping[str, Text | None], *, environ: Mapping[str, str], config_file: Path | None = None) -> Settings:
    """Return the effective settings.

    Args:
        flags: Text by setting, None or empty where no flag was given.
        environ: The process environment.
        config_file: The file the user named; else `PROPAGUL_CONFIG`, else the default one if it exists.

    Raises:
        ConfigError: Something written anywhere is wrong; one line that says where and what to do.
    """
    sources = Sources(flags, environ, config_file)
    secret, secret_origin = sources.secret()
    keys = [key for key in KNOBS if key != "secret_file"]
    values = {key: sources.value(key) for key in keys}
    values["backends"], values["backend_keys"] = sources.backends()
    origins = {key: sources.origin(key) for key in keys} | {"secret": secret_origin}
    if values["watch"] and values["desired"] is None:
        raise ConfigError("--watch: say which file with --desired FILE")
    given = {f"{key}_given": origins[key] != "default" for key in ("listen", "gateway")}
    return Settings.model_validate({**values, **given, "secret": secret, "origins": origins})


def reloading(
    settings: Settings, flags: Mapping[str, Text | None], *, environ: Mapping[str, str], config_file: Path | None = None
) -> Settings:
    """Return settings that are read again when their file changes; the arguments are those of `load`."""
    path = config_file_of(config_file, environ)[0]
    read = partial(load, flags, environ=environ, config_file=config_file)
    return settings.model_copy(update={"reload": Reload(settings, read, path)})


def load_data_dir(flags: Mapping[str, Text | None], *, environ: Mapping[str, str]) -> Path:
    """Return the data directory alone: all that a command needs which asks a running node.

    Raises:
        ConfigError: As `load`, but no other setting's value is read.
    """
    path = Sources(flags, environ, None).value("data_dir")
    assert isinstance(path, Path)
    return path


def shown(settings: Settings, environ: Mapping[str, str]) -> tuple[Shown, ...]:
    """Return every setting with its origin, then the recognised variables that have no effect yet."""
    rows = [Shown(key, _text(settings, key), origin) for key, origin in settings.origins.items()]
    for variable, is_secret in NOT_USED_YET.items():
        value = environ.get(variable)
        text = "not set" if value is None else HIDDEN if is_secret else value
        rows.append(Shown(variable, text, "environment, no effect in this version" if value is not None else ""))
    return tuple(rows)


def _text(settings: Settings, key: str) -> str:
    match getattr(settings, key):
        case None:
            return f"not set ({SECRET_VARIABLE} or --secret-file)" if key == "secret" else "none"
        case SecretStr():
            return HIDDEN
        case bool() as value:
            return "true" if value else "false"
        case tuple() as items if key == "join":
            return " ".join(HIDDEN for _ in items) or "none"
        case tuple() as items if key == "backends":
            return " ".join(f"{url}={HIDDEN}" if url in settings.backend_keys else url for url in items) or "none"
        case value:
            return str(value)
