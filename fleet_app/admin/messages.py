"""What a command and its node say to each other: the bodies of `/admin/`, checked field by field on both ends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

EXPIRES_S_MAX = 30 * 24 * 3600
USES_MAX = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class InviteOrder(_Strict):
    """The body of `POST /admin/invite`."""

    expires_s: Annotated[int, Field(ge=1, le=EXPIRES_S_MAX)]
    uses: Annotated[int, Field(ge=1, le=USES_MAX)] = 1
    admin: bool = False


class RevokeOrder(_Strict):
    """The body of `POST /admin/revoke`."""

    node: Annotated[str, Field(min_length=1, max_length=64)]


class RotateOrder(_Strict):
    """The body of `POST /admin/rotation`."""

    overlap_s: Annotated[int, Field(ge=0, le=EXPIRES_S_MAX)]


class RotationReply(_Strict):
    """A change of the secret, as the node sees it.

    Attributes:
        under_way: Whether there is one; all else is empty if not.
        ours: Whether this node can finish it.
        left_s: Seconds until the former secret ends at the latest.
        followed: Names of the boxes that have followed.
        missing: Names of those that have not.
    """

    under_way: bool
    ours: bool = False
    left_s: int = 0
    followed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class EditOrder(_Strict):
    """One field of what is declared, in `ChangeOrder`; `value` is empty to take it away."""

    table: Literal["models", "nodes", "settings"]
    name: Annotated[str, Field(max_length=256)]
    field: Annotated[str, Field(min_length=1, max_length=64)]
    key: Annotated[str, Field(max_length=64)] = ""
    value: Annotated[list[object], Field(max_length=1)]


class ChangeOrder(_Strict):
    """The body of `POST /admin/changes`: edits that are made as one."""

    edits: Annotated[list[EditOrder], Field(max_length=20_000)]
    author: Annotated[str, Field(min_length=1, max_length=128)]
    via: Annotated[str, Field(min_length=1, max_length=128)]
    note: Annotated[str, Field(max_length=256)] = ""
    undoes: Annotated[str, Field(max_length=64)] = ""


class ChangeReply(_Strict):
    """What came of it; no id where nothing would have changed."""

    id: str | None


class RowsReply(_Strict):
    """Rows of the replica under a prefix: each key with all its values, the one that holds first."""

    rows: dict[str, list[object]]


class ListReply(_Strict):
    """A list of JSON objects: events, or lines of the log."""

    items: list[dict[str, object]]


class InviteReply(_Strict):
    """A new invite, and the line to type on the other box."""

    token: Annotated[str, Field(min_length=1)]
    command: str
