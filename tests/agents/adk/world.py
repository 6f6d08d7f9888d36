"""What the tests of the session service share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from google.adk.agents import LlmAgent
from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import Runner
from google.genai import types
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.adk.models.llm_request import LlmRequest
    from google.adk.sessions import Session
    from propagul_adk import PropagulSessionService


class Who(TypedDict):
    """An app's user."""

    app_name: str
    user_id: str


class Where(Who):
    """A session."""

    session_id: str


WHO: Final[Who] = {"app_name": "app", "user_id": "user"}
HERE: Final[Where] = {"app_name": "app", "user_id": "user", "session_id": "s"}


def event(text: str = "", /, **delta: object) -> Event:
    """Something said, and what it changes in the state."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    return Event(author="user", invocation_id=text, content=content, actions=EventActions(state_delta=delta))


def text_of(said: Event) -> str:
    """What an event says."""
    parts = said.content.parts if said.content else None
    return "".join(part.text or "" for part in parts or [])


def texts(session: Session | None) -> list[str]:
    """What was said."""
    assert session is not None
    return [text_of(said) for said in session.events]


class Echo(BaseLlm):  # type: ignore[misc,unused-ignore]  # a class of no known type where the kit is not installed
    """Says how many contents it was given, and the last of them."""

    @override
    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """One answer."""
        heard = [part.text for content in llm_request.contents for part in content.parts or [] if part.text]
        answer = types.Part(text=f"{len(heard)} heard, {heard[-1]} last")
        yield LlmResponse(content=types.Content(role="model", parts=[answer]))


async def turn(service: PropagulSessionService, text: str) -> str:
    """Let an agent answer, in a session that is created if there is none."""
    agent = LlmAgent(name="echo", model=Echo(model="echo"), output_key="user:answer")
    runner = Runner(app_name="app", agent=agent, session_service=service, auto_create_session=True)
    said = types.Content(role="user", parts=[types.Part(text=text)])
    answers = [one async for one in runner.run_async(user_id="user", session_id="s", new_message=said)]
    await runner.close()
    return "".join(map(text_of, answers))
