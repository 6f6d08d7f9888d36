"""Which engine of this box answers others without asking who they are, and which is known to have a hole.

`examine` is pure: sockets that listen, engines that were seen and this box's addresses go in, `Exposure`s come out,
each with the line that ends it. `sockets` reads what listens; `watch` asks rarely, in a thread. The node's own port is
none: it lets nobody in who does not prove to be a member, and engines alone are looked at.
"""

from fleet_app.exposure.examine import Seen, examine
from fleet_app.exposure.kind import EXPOSURES_MAX, Exposure, Severity
from fleet_app.exposure.sockets import Listening, listening, own_addresses
from fleet_app.exposure.watch import ExposureWatch

__all__ = [
    "EXPOSURES_MAX",
    "Exposure",
    "ExposureWatch",
    "Listening",
    "Seen",
    "Severity",
    "examine",
    "listening",
    "own_addresses",
]
