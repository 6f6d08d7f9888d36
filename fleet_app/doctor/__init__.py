"""Why two boxes do not find each other: address, port, firewall, secret, version, identity or clock.

`look` gathers what this box knows of itself, without making or changing anything; `examine_here` judges that;
`examine_peer` goes to one address step by step and stops at the first thing in the way; `examine_member` does so for
whatever addresses a member told. What the tools of firewalls print is read in `firewalls`, and they are run in `tools`.
"""

from fleet_app.doctor.box import Box, look
from fleet_app.doctor.findings import Examination, Finding
from fleet_app.doctor.here import examine_here
from fleet_app.doctor.ladder import examine_member, examine_peer

__all__ = ["Box", "Examination", "Finding", "examine_here", "examine_member", "examine_peer", "look"]
