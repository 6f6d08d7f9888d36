"""The inference servers beside a node: which engine answers at an address, which models it serves, what it can be told.

`identify` recognises one address, `Scanner` keeps watching all of them and hands out the engines, `detect` looks once.
An engine is known by the shape of what it answers, never by a status or a port. Looking changes nothing: no look loads
a model, follows a redirect or reads more than four megabytes of an answer.
"""

from fleet_app.backends.engine_url import normalise_url
from fleet_app.backends.probe import identify
from fleet_app.backends.scanner import DEFAULT_PORTS, Scanner, detect

__all__ = ["DEFAULT_PORTS", "Scanner", "detect", "identify", "normalise_url"]
