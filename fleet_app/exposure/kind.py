"""One exposure, as it is told to every node: bounded, in words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

EXPOSURES_MAX = 16
"""How many a node tells at most."""

Severity = Literal["note", "warning", "danger"]
"""`danger`: the internet may reach it, or the LAN reaches one with a known hole. `warning`: the LAN reaches it. `note`:
nobody but this box, and it has a known hole."""


class Exposure(BaseModel):
    """An engine that others can reach without a key, or that has a known hole.

    Attributes:
        url: The engine's address, as the node knows it.
        severity: How bad.
        words: What is so, as one sentence without its full stop.
        remedy: The one thing to do.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: Annotated[str, Field(max_length=256)]
    severity: Severity
    words: Annotated[str, Field(max_length=512)]
    remedy: Annotated[str, Field(max_length=512)] = ""
