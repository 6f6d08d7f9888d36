"""Finer detail of another node: what nodes ask of each other's history, and what they answer.

    history  {names, start_s, end_s, step_s}   ->  {node, start_s, step_s, values}    of the node that is asked
    events   {limit, since_s, kinds}           ->  [{at_s, kind, node, subject, words}, ...]   newest first

Both ends check what comes from the other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleet_app.errors import FleetError
from fleet_app.history.events import WORDS_MAX, Event
from fleet_app.history.series import NAMES_MAX, SLOTS_MAX, Series

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fleet_app.history.history import History
    from propagul.link import NodeId

    Query = Callable[[NodeId, str, object], Awaitable[object]]
    """`AgentStateStore.query`."""

EVENTS_PER_ANSWER: Final = 500

_Name = Annotated[str, Field(max_length=32)]
_Words = Annotated[str, Field(max_length=WORDS_MAX)]
_Seconds = Annotated[float, Field(ge=0, le=1e12)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class _SeriesWanted(_Row):
    names: Annotated[tuple[_Name, ...], Field(max_length=NAMES_MAX)] = ()
    start_s: _Seconds
    end_s: _Seconds | None = None
    step_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0


class _SeriesTold(_Row):
    start_s: Annotated[int, Field(ge=0, le=10**12)]
    step_s: Annotated[int, Field(ge=1, le=10**6)]
    values: Annotated[
        dict[_Name, Annotated[list[float | None], Field(max_length=SLOTS_MAX)]], Field(max_length=NAMES_MAX)
    ]


class _EventsWanted(_Row):
    limit: Annotated[int, Field(ge=0, le=EVENTS_PER_ANSWER)] = 100
    since_s: _Seconds = 0.0
    kinds: Annotated[tuple[_Name, ...], Field(max_length=32)] = ()


class _EventTold(_Row):
    at_s: _Seconds
    kind: _Words
    node: _Words
    subject: _Words
    words: _Words


_EVENTS: Final = TypeAdapter(Annotated[list[_EventTold], Field(max_length=EVENTS_PER_ANSWER)])


def answers(history: History, node: NodeId) -> dict[str, Callable[[NodeId, object], Awaitable[object]]]:
    """What this node answers, by route: for `AgentStateStore.on_query`. Wrong arguments are a ValueError."""

    async def series(_: NodeId, arguments: object) -> object:
        wanted = _SeriesWanted.model_validate(arguments)
        found = await asyncio.to_thread(
            history.series, node, wanted.names, start_s=wanted.start_s, end_s=wanted.end_s, step_s=wanted.step_s
        )
        return found.to_json()

    async def events(_: NodeId, arguments: object) -> object:
        wanted = _EventsWanted.model_validate(arguments)
        found = await asyncio.to_thread(history.events.latest, wanted.limit, since_s=wanted.since_s, kinds=wanted.kinds)
        return [event.to_json() for event in found]

    return {"history": series, "events": events}


async def series_of(
    query: Query,
    node: NodeId,
    names: Sequence[str] = (),
    *,
    start_s: float,
    end_s: float | None = None,
    step_s: float = 0,
) -> Series:
    """Another node's figures as it keeps them itself; see `History.series`.

    Raises:
        FleetError: It answered nonsense.
        LinkError: It cannot be reached, or does not answer.
    """
    wanted = {"names": list(names), "start_s": start_s, "end_s": end_s, "step_s": step_s}
    answer = await query(node, "history", wanted)
    try:
        told = _SeriesTold.model_validate(answer)
    except ValidationError:
        raise FleetError("that node's history has another shape than this version reads") from None
    return Series(node=node, start_s=told.start_s, step_s=told.step_s, values=told.values)


async def events_of(
    query: Query, node: NodeId, limit: int = 100, *, since_s: float = 0.0, kinds: Sequence[str] = ()
) -> list[Event]:
    """The events that another node knows of, newest first.

    Raises:
        FleetError: It answered nonsense.
        LinkError: It cannot be reached, or does not answer.
    """
    answer = await query(node, "events", {"limit": limit, "since_s": since_s, "kinds": list(kinds)})
    try:
        return [Event(**told.model_dump()) for told in _EVENTS.validate_python(answer)]
    except ValidationError:
        raise FleetError("that node's events have another shape than this version reads") from None
