"""What the tests of sessions share: items, a model that needs no network, an agent with a tool."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "true"

from agents import Agent, Model, ModelResponse, Usage, function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agents.items import TResponseInputItem, TResponseStreamEvent


def said(*texts: str) -> list[TResponseInputItem]:
    """A message of the user for each text."""
    return [{"role": "user", "content": text} for text in texts]


def texts(items: list[TResponseInputItem]) -> list[str]:
    """What the messages say."""
    return [str(cast("dict[str, object]", item)["content"]) for item in items]


class Counting(Model):
    """Calls the tool `length` with what the user said, then says what came out. Remembers every input."""

    def __init__(self) -> None:
        self.heard: list[list[dict[str, object]]] = []

    @override
    async def get_response(self, *_: Any, **given: Any) -> ModelResponse:
        items: list[dict[str, object]] = given["input"]
        self.heard.append(items)
        call = f"call {len(items)}"
        if items[-1].get("type") == "function_call_output":
            text = ResponseOutputText(annotations=[], text=f"{items[-1]['output']} letters", type="output_text")
            answer = ResponseOutputMessage(
                id=f"message {len(items)}", content=[text], role="assistant", status="completed", type="message"
            )
            return ModelResponse(output=[answer], usage=Usage(), response_id=None)
        arguments = f'{{"text": "{items[-1]["content"]}"}}'
        asked = ResponseFunctionToolCall(arguments=arguments, call_id=call, name="length", type="function_call")
        return ModelResponse(output=[asked], usage=Usage(), response_id=None)

    @override
    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[TResponseStreamEvent]:
        raise AssertionError("nothing here streams")


@function_tool
def length(text: str) -> int:
    """How many letters a text has."""
    return len(text)


def agent(model: Counting) -> Agent[None]:
    """An agent that answers with the help of `length`."""
    return Agent(name="counter", model=model, tools=[length])
