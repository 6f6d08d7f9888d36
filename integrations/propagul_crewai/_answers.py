"""No finished model call is made twice: what a model answered is remembered before the crew hears it.

While a run goes on, the crew's models are of a class made here: theirs, with `call` and `acall` that look for an answer
from an earlier life of the run first. Questions are told apart by what is asked (model, messages, tools, the model of
the response, the task) and how often that was answered before in this life. One that is not word for word what was
asked earlier is asked anew, which is always right and only costs a call.

Text, JSON, tool calls and the response model that was asked for can be remembered; other answers are not.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import types
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from crewai.utilities.agent_utils import extract_tool_call_info, is_tool_call_list
from pydantic import BaseModel, ValidationError

from propagul_crewai._runs import current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from crewai.llms.base_llm import BaseLLM

    from propagul_crewai._runs import Run

PARAMETERS = ("tools", "callbacks", "available_functions", "from_task", "from_agent", "response_model")
"""What `BaseLLM.call` takes after the messages, in order."""

RETRIED = "_crewai_rate_limit_wrapped"
"""How CrewAI marks a `call` that tries again where a provider is busy. Those made below call one that does."""

_inside: ContextVar[bool] = ContextVar("propagul_crewai_inside", default=False)
"""Whether a model is being asked already: one that asks itself again, for a tool's sake, is one call."""

_lock = threading.Lock()
_listened_to: dict[int, list[BaseLLM]] = {}
"""The models whose class is changed now, as often as runs use them."""


@contextlib.contextmanager
def remembering(models: Iterable[BaseLLM]) -> Iterator[None]:
    """Have these models remember what they answer in runs, until the block ends."""
    held = list(models)
    with _lock:
        for model in held:
            holders = _listened_to.setdefault(id(model), [])
            if not holders:
                object.__setattr__(model, "__class__", _remembering(type(model)))
            holders.append(model)
    try:
        yield
    finally:
        with _lock:
            for model in held:
                _listened_to[id(model)].pop()
                if not _listened_to[id(model)]:
                    del _listened_to[id(model)]
                    object.__setattr__(model, "__class__", type(model).__base__)


_made: dict[type[BaseLLM], type[BaseLLM]] = {}


def _remembering(kind: type[BaseLLM]) -> type[BaseLLM]:
    """The class of a model, but for `call` and `acall`. With the lock held."""
    if kind in _made:
        return _made[kind]

    @functools.wraps(kind.call)
    def call(self: BaseLLM, messages: object, *args: object, **kwargs: object) -> object:
        ask = functools.partial(kind.call, self, messages, *args, **kwargs)
        if (asked := _Asked.now(self, messages, args, kwargs)) is None:
            return ask()
        answer = asked.earlier()
        return asked.noted(_once(ask)) if answer is None else asked.given(answer)

    @functools.wraps(kind.acall)
    async def acall(self: BaseLLM, messages: object, *args: object, **kwargs: object) -> object:
        ask = functools.partial(kind.acall, self, messages, *args, **kwargs)
        if (asked := _Asked.now(self, messages, args, kwargs)) is None:
            return await ask()
        answer = asked.earlier()
        return asked.noted(await _aonce(ask)) if answer is None else asked.given(answer)

    for method in (call, acall):
        setattr(method, RETRIED, True)
    members = {"call": call, "acall": acall, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    _made[kind] = types.new_class(kind.__name__, (kind,), exec_body=lambda namespace: namespace.update(members))
    return _made[kind]


class _Asked:
    """One question, in a run."""

    def __init__(self, run: Run, question: str, response_model: object) -> None:
        self._run, self._question = run, question
        self._response_model = _model(response_model)

    @classmethod
    def now(cls, model: BaseLLM, messages: object, args: tuple[object, ...], kwargs: dict[str, Any]) -> _Asked | None:
        """What is asked; None where no run is going on, or the question is part of another one."""
        if (run := current.get()) is None or _inside.get():
            return None
        given = dict(zip(PARAMETERS, args, strict=False)) | kwargs
        shape = given.get("response_model")
        asked = (model.model, messages, given.get("tools"), getattr(shape, "__qualname__", None))
        return cls(run, run.question(asked, given.get("from_task")), shape)

    def earlier(self) -> object:
        """The answer of an earlier life; None if there is none."""
        match self._run.answer(self._question):
            case {"value": value}:
                return value
            case {"model": fields} if self._response_model is not None:
                with contextlib.suppress(ValidationError):  # the program changed: it is asked anew
                    return self._response_model.model_validate(fields)
        return None

    def noted(self, answer: object) -> object:
        """Remember an answer and give it."""
        if (row := self._row(answer)) is not None:
            self._run.note_answer(self._question, row)
        return self.given(answer)

    def given(self, answer: object) -> object:
        """Give an answer to the crew."""
        self._run.count_answer(self._question)
        return answer

    def _row(self, answer: object) -> dict[str, object] | None:
        if self._response_model is not None and isinstance(answer, self._response_model):
            return {"model": answer.model_dump(mode="json")}
        if isinstance(answer, list) and is_tool_call_list(answer):
            return {"value": [_tool_call(call) for call in answer]}
        with contextlib.suppress(TypeError, ValueError):  # what JSON does not carry cannot be remembered
            if answer is not None and json.loads(json.dumps(answer)) == answer:
                return {"value": answer}
        return None


def _model(kind: object) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _tool_call(call: object) -> dict[str, object]:
    """A provider's tool call in the form of a dict that CrewAI reads as well."""
    info = extract_tool_call_info(call)
    if info is None:
        raise TypeError("no tool call that CrewAI knows")
    call_id, name, arguments = info
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def _once(ask: Callable[[], object]) -> object:
    token = _inside.set(True)
    try:
        return ask()
    finally:
        _inside.reset(token)


async def _aonce(ask: Callable[[], Awaitable[object]]) -> object:
    token = _inside.set(True)
    try:
        return await ask()
    finally:
        _inside.reset(token)
