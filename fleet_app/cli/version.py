"""Which version is installed. Needs the standard library only, like the file that starts the commands."""

from __future__ import annotations

import importlib.metadata
import platform


def version_line() -> str:
    """The version of the installed distribution, and what it runs on."""
    try:
        found = importlib.metadata.version("propagul")
    except importlib.metadata.PackageNotFoundError:
        found = "unknown (not installed, run from its source)"
    return f"propagul {found} (Python {platform.python_version()}, {platform.system()})"
