"""The node as a service of the system: started at boot or login, started again when it fails, stopped like any other.

`systemd`, `launchd` and `scheduled_task` are pure: a node's command goes in, the file and the commands of that system
come out as a `Service`. `register` alone writes the file and runs the commands. What was run where: systemd's files are
checked by systemd's own tool; those of macOS and Windows follow their documentation and have not been run.
"""

from fleet_app.service.register import install, plan, uninstall
from fleet_app.service.unit import NodeCommand, Service, Step

__all__ = ["NodeCommand", "Service", "Step", "install", "plan", "uninstall"]
