"""What a backup says of itself. Others may have written to the disk it comes from, so it is checked field by field."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_app.errors import FleetError

FORMAT, VERSION = "propagul backup", 1
MANIFEST = "manifest.json"
DECLARED = "declared.jsonl"
MANIFEST_BYTES_MAX = 4 * 1024 * 1024

MEMBERSHIP = ("identity.key", "room-secret", "grant.json", "lineage", "issuers", "fleet")
"""Files of a data directory that say who a node is; see `fleet_app.home`."""

WHOLE_NAME = re.compile(
    "|".join(map(re.escape, MEMBERSHIP)) + r"|state/[a-z]{1,32}\.json|state/log/[0-9a-f]{16}/[0-9]{8}\.(log|snap)"
)
"""What may stand in a whole backup. No other name is ever made into a path."""

_FILES_MAX = 100_000


class Entry(BaseModel):
    """One file: its length and the SHA-256 of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    size: Annotated[int, Field(ge=0, le=2**50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """The manifest.

    Attributes:
        kind: `whole`, or `declared` where secrets were left out.
        fleet: The tag of the fleet; tells nothing to whoever is not in it.
        node: The identity of the node; empty without secrets.
        name: What its owner called it.
        made_s: When, in seconds since the epoch.
        program: The version that made it.
        files: All other members of the file.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    format: Literal["propagul backup"] = "propagul backup"
    version: Literal[1] = 1
    kind: Literal["whole", "declared"]
    fleet: Annotated[str, Field(max_length=128)]
    node: Annotated[str, Field(max_length=64)] = ""
    name: Annotated[str, Field(max_length=64)]
    made_s: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
    program: Annotated[str, Field(max_length=64)]
    files: Annotated[dict[str, Entry], Field(max_length=_FILES_MAX)]


def read_manifest(content: bytes, file: str) -> Manifest:
    """Read a manifest.

    Raises:
        FleetError: It is none, of a newer format, or names what no backup holds.
    """
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise FleetError(f"{file} is no backup of a node")
    version = told.get("version")
    if isinstance(version, int) and version > VERSION:
        raise FleetError(
            f"{file} has format {version}, made by a newer version; this one reads format {VERSION}: update Propagul"
        )
    try:
        manifest = Manifest.model_validate(told)
    except ValidationError as problem:
        where = ".".join(str(part)[:64] for part in problem.errors(include_url=False, include_input=False)[0]["loc"])
        raise FleetError(f"{file} is damaged: its manifest has no sound {where}") from None
    allowed = WHOLE_NAME if manifest.kind == "whole" else re.compile(re.escape(DECLARED))
    for name in manifest.files:
        if not allowed.fullmatch(name):
            raise FleetError(f"{file} is damaged: it names {name[:64]!r}, which no backup holds")
    return manifest
