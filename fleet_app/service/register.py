"""Writing a service's file and running the system's own tool; the one place of this package that changes anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleet_app import _system
from fleet_app.errors import FleetError
from fleet_app.service import launchd, scheduled_task, systemd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleet_app.service.unit import NodeCommand, Service, Step

Run = Callable[[tuple[str, ...]], _system.Printed | None]
"""Runs a command to its end; None if the program is not here or does not end."""

_TOOL_S_MAX = 60.0
_SAID_CHARACTERS_MAX = 200


def run_tool(command: tuple[str, ...]) -> _system.Printed | None:
    """Run a tool of the system."""
    return _system.printed_by(*command, timeout_s=_TOOL_S_MAX)


def plan(command: NodeCommand, platform: str = sys.platform) -> Service:
    """Return the service of this system.

    Raises:
        ConfigError: This system cannot have the node as it was described.
        FleetError: No service is known for this system.
    """
    if platform == "linux":
        return systemd.service(command)
    if platform == "darwin":
        return launchd.service(command)
    if platform == "win32":
        return scheduled_task.service(command)
    raise FleetError(f"no service is known for {platform}; start it your own way: propagul fleet up")


def install(service: Service, run: Run = run_tool) -> Iterator[str]:
    """Write the file, register and start it; yield what was done, a sentence each. Again does the same again.

    Raises:
        FleetError: The service manager is not here, or refused; its own words are told.
        OSError: The file could not be written.
    """
    _check_manager(service, run)
    before = service.path.read_bytes() if service.path.exists() else None
    if before != service.content:
        service.path.parent.mkdir(parents=True, exist_ok=True)
        service.path.write_bytes(service.content)
    yield f"{_verb(before, service.content)} {service.path} ({service.kind})"
    yield from _run_all(service.start, run)
    yield "started it; it starts by itself from now on"


def uninstall(service: Service, run: Run = run_tool) -> Iterator[str]:
    """Stop it, take it off the system's list and remove its file; yield what was done. Nothing else is removed.

    Raises:
        FleetError: The service manager could not stop it; its own words are told, and the file stays.
    """
    if not service.path.exists():
        yield f"no service is installed here: there is no {service.path}"
        return
    if _trouble_with_manager(service, run):
        yield f"nothing to stop: {service.absent}"
    else:
        yield from _run_all(service.stop, run)
        yield "stopped it"
    service.path.unlink()
    yield f"removed {service.path}"
    yield from _run_all(service.forget, run)


def _verb(before: bytes | None, after: bytes) -> str:
    if before is None:
        return "wrote"
    return "kept" if before == after else "replaced"


def _check_manager(service: Service, run: Run) -> None:
    trouble = _trouble_with_manager(service, run)
    if trouble:
        raise FleetError(
            f"{service.absent}: {trouble}; nothing was written. "
            "`propagul fleet install --print` shows the file and the commands"
        )


def _trouble_with_manager(service: Service, run: Run) -> str:
    """Why there is no service manager, in its own words; empty if there is one."""
    if not service.probe:
        return ""
    printed = run(service.probe)
    if printed is None:
        return f"{service.probe[0]} is not here or does not answer"
    return "" if printed.code == 0 else _first_line(printed.text) or f"{service.probe[0]} fails without a word"


def _run_all(steps: Iterable[Step], run: Run) -> Iterator[str]:
    for step in steps:
        printed = run(step.command)
        if step.quiet or (printed is not None and printed.code == 0):
            continue
        why = "the program is not here or did not end" if printed is None else _first_line(printed.text)
        if not step.otherwise:
            raise FleetError(f"`{' '.join(step.command)}` failed: {why}")
        yield f"`{' '.join(step.command)}` failed ({why}): {step.otherwise}"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:_SAID_CHARACTERS_MAX]
