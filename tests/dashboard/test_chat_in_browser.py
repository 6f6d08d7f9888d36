"""The chat box in a real chromium, against an endpoint that streams as awkwardly as TCP may."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from playwright.sync_api import expect

from tests.dashboard import probes
from tests.dashboard.harness import Served, awkward_chat, chunk, stream_open, two_nodes

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.dashboard.conftest import Complaints

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("chat")]  # one worker, so that one browser starts

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"


def ask(page: Page, words: str) -> None:
    page.locator("#question").fill(words)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()  # as soon as the page knows of a model
    page.locator("#question").press("Enter")


def test_an_answer_survives_torn_events_and_torn_characters(page: Page) -> None:
    page.add_init_script(probes.BYTE_BY_BYTE)
    with Served(two_nodes(), chat=awkward_chat) as served:
        page.goto(served.url)
        ask(page, "Grüß Gott 🌍 <b>x</b>")
        expect(page.locator(".words")).to_have_text("You said: Grüß Gott 🌍 <b>x</b> Grüße 👩‍👩‍👧 日本語 done.")
        expect(page.locator(".source")).to_contain_text("qwen3-8b on räck-2 100%")
        expect(page.locator(".source")).to_contain_text("first words after")
        expect(page.locator(".source")).not_to_contain_text("broke off")
        expect(page.get_by_role("status")).to_have_text("Answer complete")
        expect(page.locator("#question")).to_have_value("")
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "chat-answered.png")


def test_the_request_is_a_plain_completion_of_the_chosen_model_with_what_was_said_before(page: Page) -> None:
    bodies, origins = [], []

    async def remember(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        origins.append(request.headers["Origin"])
        return await awkward_chat(request)

    with Served(two_nodes(), chat=remember) as served:
        page.goto(served.url)
        page.locator("#model").select_option("tiny-llama")
        ask(page, "one")
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        ask(page, "two")
        expect(page.locator(".words").nth(1)).to_contain_text("two")
        kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    answer = "You said: one Grüße 👩‍👩‍👧 日本語 done."
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": answer}]
    assert bodies[0] == {"model": "tiny-llama", "messages": history[:1], "stream": True}
    assert bodies[1]["messages"] == [*history, {"role": "user", "content": "two"}]
    assert kept == [0, 0, ""]
    assert set(origins) == {served.url}


def test_a_chosen_model_that_leaves_is_named_and_cannot_be_asked(page: Page) -> None:
    with Served(two_nodes()) as served:
        page.goto(served.url)
        page.locator("#model").select_option("qwen3-8b")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        served.view = two_nodes(state="down", heard_s=14.0)
        expect(page.locator("#model option:checked")).to_have_text("qwen3-8b (not available now)")
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        page.locator("#model").select_option("tiny-llama")
        expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_stop_aborts_the_answer_and_the_server_notices(page: Page) -> None:
    left = []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = await stream_open(request)
        try:
            while True:
                await response.write(chunk("word "))
                await asyncio.sleep(0.1)  # a button that moves with every frame cannot be clicked
        except ConnectionError:
            left.append(True)
        return response

    with Served(two_nodes(), chat=endless) as served:
        page.goto(served.url)
        ask(page, "go on")
        expect(page.locator(".words")).to_contain_text("word word")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".source")).to_contain_text("stopped by you")
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        words = page.locator(".words").inner_text()
        page.wait_for_timeout(200)
        assert page.locator(".words").inner_text() == words
        assert left == [True]


def test_a_refusal_shows_the_message_of_its_body(page: Page, complaints: Complaints) -> None:
    complaints.expected.append("404 (Not Found)")

    async def refuse(_request: web.Request) -> web.StreamResponse:
        error = {
            "message": "no node has <b>qwen3-8b</b> ready",
            "type": "invalid_request_error",
            "code": "model_not_found",
        }
        return web.json_response({"error": error}, status=404)

    with Served(two_nodes(), chat=refuse) as served:
        page.goto(served.url)
        ask(page, "hello")
        expect(page.locator(".error")).to_have_text("404: no node has <b>qwen3-8b</b> ready")


BAD_ENDS = {
    "the engine went away": b'data: {"error": {"message": "the engine went away"}}\n\n',
    "the engine sent something that is not JSON": b"data: not json\n\n",
    "the answer broke off": b"",
    "cut at the length limit": b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\ndata: [DONE]',
}


def test_an_answer_that_does_not_end_well_says_so_and_keeps_its_words(page: Page) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        wanted = (await request.json())["messages"][-1]["content"]
        response = await stream_open(request)
        await response.write(chunk("so far") + BAD_ENDS[wanted])
        return response

    with Served(two_nodes(), chat=broken) as served:
        page.goto(served.url)
        for number, shown in enumerate(BAD_ENDS):
            ask(page, shown)
            turn = page.locator(".turn").nth(number)
            expect(turn.locator(".error, .source").get_by_text(shown)).to_be_visible()
            expect(turn.locator(".words")).to_have_text("so far")
            expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_hostile_answer_is_inert_text(page: Page) -> None:
    markup = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"

    async def hostile(request: web.Request) -> web.StreamResponse:
        response = await stream_open(request, node_name="<i>rack</i>")
        await response.write(chunk(markup) + chunk("W" * 5000, finish_reason="stop") + b"data: [DONE]\n\n")
        return response

    with Served(two_nodes(), chat=hostile) as served:
        page.set_viewport_size({"width": 360, "height": 800})
        page.goto(served.url)
        ask(page, "hello")
        expect(page.locator(".words")).to_contain_text(markup)
        expect(page.locator(".source")).to_contain_text("<i>rack</i>")
        assert page.locator("#app img, #app script, #app i").count() == 0
        assert not page.evaluate(probes.TOO_WIDE)
