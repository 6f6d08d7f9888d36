"""The fleet: every box that runs models, seen, reached and told what should be there.

    from fleet_app import Fleet

It reads and writes the replica and owns no truth of its own. Importing this package needs nothing but the standard
library, so that the console script can say which extra is missing; `Fleet` needs the extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet_app.fleet import Fleet

__all__ = ["Fleet"]


def __getattr__(name: str) -> object:
    """`Fleet`, loaded when it is asked for."""
    if name == "Fleet":
        from fleet_app.fleet import Fleet  # noqa: PLC0415 - needs the extra

        return Fleet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
