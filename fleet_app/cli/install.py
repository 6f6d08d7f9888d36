"""`propagul fleet install` and `uninstall`: the node as a service of this system."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet_app import _system
from fleet_app.admin import running_node
from fleet_app.cli.elsewhere import places
from fleet_app.cli.frame import printable
from fleet_app.config import load, load_data_dir
from fleet_app.config.knobs import KNOBS, SECRET_VARIABLE
from fleet_app.config.sources import config_file_of
from fleet_app.errors import ConfigError
from fleet_app.service import NodeCommand, Service, install, plan, uninstall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet_app.cli.elsewhere import Place
    from fleet_app.config import Settings

_WRITTEN = ("name", "listen", "gateway")
"""Settings that are written into the service where somebody chose them; the data directory always is."""

_JOIN_FIRST = (
    "a token is used once and has no place in a service; join by hand first (propagul fleet up --join -), stop with "
    "Ctrl-C, then install"
)

_system_flag = click.option("--system", is_flag=True, help="For the whole machine, with root; not only for this user.")


@click.command("install")
@click.option("--name", metavar="NAME", help="What to call this box.")
@click.option("--data-dir", metavar="DIR", help="Where identity and log live.")
@click.option("--listen", metavar="HOST:PORT", help="Where other nodes connect.")
@click.option("--gateway", metavar="HOST:PORT", help="Where you and your programs connect.")
@click.option("--config", "config_file", metavar="FILE", help="The YAML file to read; all else belongs there.")
@click.option("--join", "join", hidden=True, multiple=True)
@click.option("--print", "only_print", is_flag=True, help="Show the file and the commands, and do nothing.")
@_system_flag
def install_service(
    *, join: tuple[str, ...], config_file: str | None, only_print: bool, system: bool, **texts: str | None
) -> None:
    """Run this box's node as a service, from now on and after every start.

    A systemd unit on Linux, a launchd agent on macOS, a scheduled task on Windows. Again with other flags, it replaces
    the service that was there.
    """
    if join:
        raise ConfigError(f"--join: {_JOIN_FIRST}")
    _check_root(system=system)
    file = _config_file(config_file)
    settings = load(texts, environ=os.environ, config_file=file)
    _check_environment(settings)
    if system and settings.origins["data_dir"] == "default":
        _check_owner(settings.data_dir, places(os.environ, Path.home()))
    service = plan(_command(settings, file, system=system))
    if only_print:
        _show(service)
        return
    node = running_node(settings.data_dir)
    if node is not None and not service.path.exists():
        raise ConfigError(f"the node {node.name!r} runs there already (process {node.pid}); stop it, then install")
    is_new = not (settings.data_dir / "fleet").exists()
    _tell(install(service))
    _tell(service.notes)
    if is_new:
        click.echo("this box was in no fleet: it founds one of its own, which `propagul fleet invite` lets others into")
    click.echo(f"see it: propagul fleet status --data-dir {settings.data_dir}\nits log: {service.logs}")


@click.command("uninstall")
@click.option("--data-dir", metavar="DIR", help="Where identity and log live; nothing there is removed.")
@_system_flag
def uninstall_service(*, data_dir: str | None, system: bool) -> None:
    """Stop the service of this box's node and remove it; what the node keeps stays."""
    _check_root(system=system)
    path = load_data_dir({"data_dir": data_dir}, environ=os.environ)
    service = plan(_command_on(path, (), system=system))
    _tell(uninstall(service))
    if path.exists():
        click.echo(f"what stays: identity, membership and replica in {path}; without them this box is a new one")


def _check_root(*, system: bool) -> None:
    if system and _system.user_id() not in (0, None):
        raise ConfigError("--system needs root; run it with sudo, and say whose node it is: --data-dir DIR")


def _config_file(flag: str | None) -> Path | None:
    path, is_named = config_file_of(Path(flag) if flag else None, os.environ)
    return path.absolute() if is_named else None


def _check_owner(data_dir: Path, others: Iterable[Place]) -> None:
    """Refuse to found root's own node where the user's was probably meant: sudo changes the default directory."""
    for place in others:
        if place.data_dir != data_dir and (place.data_dir / "fleet").exists() and not (data_dir / "fleet").exists():
            raise ConfigError(
                f"user {place.user}'s node is in {place.data_dir}; say which is meant: --data-dir {place.data_dir}, or "
                f"--data-dir {data_dir} for a new one"
            )


def _check_environment(settings: Settings) -> None:
    """Refuse what the service would not see: it has another environment than this terminal."""
    for key, origin in settings.origins.items():
        if not origin.startswith("environment") or key in (*_WRITTEN, "data_dir"):
            continue
        if key == "join":
            raise ConfigError(f"{KNOBS[key].variable}: {_JOIN_FIRST}")
        if key == "secret":
            raise ConfigError(
                f"{SECRET_VARIABLE} is not written into a service; put the secret into a file with mode 600 and name "
                "it in the config file: secret_file: PATH"
            )
        raise ConfigError(f"{KNOBS[key].variable}: a service does not see it; write {key} into the config file")


def _command(settings: Settings, config_file: Path | None, *, system: bool) -> NodeCommand:
    chosen = [key for key in _WRITTEN if settings.origins[key].startswith(("flag", "environment"))]
    words = [word for key in chosen for word in (KNOBS[key].flag, str(getattr(settings, key)))]
    return _command_on(
        settings.data_dir, (*words, *(("--config", str(config_file)) if config_file else ())), system=system
    )


def _command_on(data_dir: Path, words: tuple[str, ...], *, system: bool) -> NodeCommand:
    user, home = _account(data_dir) if system else (_user(), Path.home())
    return NodeCommand(
        words=(sys.executable, "-P", "-m", "fleet_app", "fleet", "up", "-v", "--data-dir", str(data_dir), *words),
        data_dir=data_dir,
        user=user,
        home=home,
        system=system,
        user_id=_system.user_id(),
    )


def _account(data_dir: Path) -> tuple[str, Path]:
    """Who owns a data directory, so that a service of the system does not lock its owner out of it."""
    owner = data_dir.owner() if data_dir.exists() else _user()
    return owner, Path(f"~{owner}").expanduser()


def _user() -> str:
    user = getpass.getuser()
    return f"{os.environ['USERDOMAIN']}\\{user}" if os.environ.get("USERDOMAIN") else user


def _show(service: Service) -> None:
    click.echo(f"# {service.path} ({service.kind})")
    text = service.content.decode("utf-16" if service.content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    click.echo(text)
    for head, steps in (("install", service.start), ("uninstall", (*service.stop, *service.forget))):
        click.echo(f"# {head}:")
        for step in steps:
            click.echo(_system.shell_line(step.command))


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(printable(line))
