"""The node as a scheduled task of Windows, started when its user logs on.

After the Task Scheduler schema 1.2 and `schtasks`; not run. The scheduler puts variables in place of `%NAME%` and
`$(Arg0)` in a command and knows no way to write them as they are, so a path with either is refused. It keeps no log:
the window of the task shows what the node says, and closing it stops the node until the next start.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from fleet_app._system import windows_command_line
from fleet_app.errors import ConfigError
from fleet_app.service.unit import NAME, SUMMARY, Service, Step

if TYPE_CHECKING:
    from fleet_app.service.unit import NodeCommand

TASK = f"{NAME} node"
_REPLACED = re.compile(r"%[^%]+%|\$\(")
_RESTARTS_MAX = 20


def service(command: NodeCommand) -> Service:
    """Return the task of a node and what registers it.

    Raises:
        ConfigError: It cannot be written, or is to start with the machine.
    """
    if command.system:
        raise ConfigError("--system: on Windows a node starts with its user; leave it out")
    for word in command.words:
        if _REPLACED.search(word):
            raise ConfigError(
                f"{word!r}: Windows replaces %...% and $( in a scheduled task; choose another name or path"
            )
    path = command.data_dir / "task.xml"
    return Service(
        kind="scheduled task",
        path=path,
        content=task_xml(command).encode("utf-16"),
        start=(
            Step(command=("schtasks", "/End", "/TN", TASK), quiet=True),
            Step(command=("schtasks", "/Create", "/TN", TASK, "/XML", str(path), "/F")),
            Step(command=("schtasks", "/Run", "/TN", TASK)),
        ),
        stop=(
            Step(command=("schtasks", "/End", "/TN", TASK), quiet=True),
            Step(command=("schtasks", "/Delete", "/TN", TASK, "/F")),
        ),
        logs="the window of the task shows them; a task keeps none",
        notes=("closing its window stops the node", "it runs while you are logged on"),
    )


def task_xml(command: NodeCommand) -> str:
    """Return the task."""
    program, *arguments = command.words
    user = escape(command.user)
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{SUMMARY}</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <UserId>{user}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>{_RESTARTS_MAX}</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(program)}</Command>
      <Arguments>{escape(windows_command_line(arguments))}</Arguments>
    </Exec>
  </Actions>
</Task>
"""
