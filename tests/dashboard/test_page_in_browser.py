"""The page in a real chromium, served by a real dashboard whose view changes while the page is open.

Every test also fails on any console message and on any violation of the page's policy (see `page` in conftest).
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect

from fleet_app.backends.scanner import DEFAULT_PORTS
from fleet_app.dashboard.history import SAMPLES_MAX
from fleet_app.presence import Gpu, Model
from fleet_app.view import FleetView
from tests.dashboard import probes
from tests.dashboard.harness import Served, engine, gpu, identity, node, presence, two_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]  # one worker, so that one browser starts

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"

HOSTILE = {
    "script": "<script>document.title='owned'</script>",
    "image": '"><img src=x onerror="document.title=\'owned\'">',
    "reversed": "invoice\u202egpj.exe",
    "escape": "\x1b[31mred\x1b[0m\x07",
    "long": "W" * 10_000,
    "zalgo": "Z" + "\u0301" * 200,
}


def card(page: Page, name: str) -> Locator:
    return page.locator(f'.card[data-node="{identity(name)}"]')


def spark(page: Page, name: str, label: str) -> Locator:
    return card(page, name).locator(f'canvas[aria-label^="{label}"]')


def until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait for something that no locator can say."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def rich_view() -> FleetView:
    """Every kind of row at once: two GPUs, blind sensors, all conditions, draining, relayed, down, never heard."""
    blind = Gpu(index=0, name="Apple M2 Ultra")
    conditions = ("ready", "loading", "unreachable", "needs_key", "unhealthy")
    broken = tuple(
        engine(Model(name=f"model-{c}", loaded=None), condition=c, reason="" if c == "ready" else f"because {c}",  # type: ignore[arg-type]  # literals
               url=f"http://127.0.0.1:{8000 + i}")
        for i, c in enumerate(conditions)
    )  # fmt: skip
    many = engine(*(Model(name=f"m-{i}", loaded=i == 9, size_bytes=4_700_000_000) for i in range(20)), kind="ollama")
    atlas = presence("atlas", gpus=(gpu(0), gpu(1, percent=None)), backends=(many,), in_flight=3)
    return FleetView(
        nodes=(
            node("atlas", atlas, reach="here", heard_s=0.0),
            node("basalt", presence("basalt", gpus=(blind,), backends=broken)),
            node("cellar", presence("cellar", bare=True), reach="relayed"),
            node("dune", presence("dune", gpus=tuple(gpu(i) for i in range(4)), state="draining"), state="draining"),
            node("elm", presence("elm", ram_gib=62.0, backends=(engine("gone"),)), state="down", heard_s=14.0),
            node("fig", None, state="down", reach="none", heard_s=None),
        ),
        notices=("2 strangers from 192.0.2.7 were turned away: another room or another secret",),
    )


def test_cards_show_what_the_view_says(page: Page) -> None:
    with Served(rich_view()) as served:
        page.goto(served.url)
        expect(page.locator(".card")).to_have_count(6)
        expect(page.locator(".figures")).to_contain_text("3 of 6 nodes up")
        expect(page.locator(".figures")).to_contain_text("21 models")
        expect(page.locator(".link")).to_have_text("live")
        expect(page.locator(".notices")).to_contain_text("2 strangers from 192.0.2.7")
        expect(page).to_have_title("3 of 6 nodes up · Propagul")
        atlas = card(page, "atlas")
        for words in (
            *("atlas", "this node", "Up", "3 in flight", "23 %", "16 cores", "21.3 / 64.0 GiB", "410 / 930 GB"),
            *("GPU 1", "NVIDIA GeForce RTX 4090", "41 %", "61 °C · 287 W", "18.2 / 24.0 GiB", "Ollama", "12 more"),
        ):
            expect(atlas).to_contain_text(words)
        expect(atlas.locator(".chip").first).to_have_text("m-9, loaded")
        for words in ("model-ready", "loading", "unreachable", "needs a key", "unhealthy", "because needs_key"):
            expect(card(page, "basalt")).to_contain_text(words)
        expect(card(page, "cellar")).to_contain_text("through others")
        expect(card(page, "dune")).to_contain_text("Draining")
        expect(card(page, "elm")).to_contain_text("Down")
        expect(card(page, "elm")).to_contain_text("last seen 14 s ago")
        expect(card(page, "elm")).to_contain_text("tight 97 %")
        expect(card(page, "elm")).to_contain_text("was ready")
        expect(card(page, "fig")).to_contain_text("not heard since this node started")


def test_what_a_box_cannot_tell_is_said_and_never_drawn_as_zero(page: Page) -> None:
    with Served(rich_view()) as served:
        page.goto(served.url)
        expect(card(page, "cellar").get_by_text("cannot tell", exact=True)).to_have_count(3)
        expect(card(page, "basalt").locator(".gpu").get_by_text("cannot tell", exact=True)).to_have_count(3)
        expect(card(page, "cellar")).not_to_contain_text("0 %")
        expect(card(page, "cellar").get_by_role("meter")).to_have_count(0)
        expect(spark(page, "cellar", "CPU")).to_have_attribute("aria-label", "CPU: no readings in the last 6 s")


def test_a_node_that_goes_down_changes_its_card_and_greys_its_line_without_a_reload(page: Page) -> None:
    with Served(two_nodes()) as served:
        page.goto(served.url)
        expect(card(page, "rack-2").locator(".standing")).to_have_text("Up")
        line = spark(page, "rack-2", "CPU")
        until(lambda: line.evaluate(probes.PIXELS)["newest"] > 20)
        before = line.evaluate(probes.PIXELS)
        assert before["colourful"] > before["inked"] / 2 > 10
        page.evaluate("window.notReloaded = true")
        served.view = two_nodes(state="down", heard_s=14.0)
        expect(card(page, "rack-2").locator(".standing")).to_have_text("Down")
        expect(card(page, "rack-2")).to_contain_text("last seen 14 s ago")
        expect(page.locator(".figures")).to_contain_text("1 of 2 nodes up")
        expect(page.get_by_role("status")).to_have_text("rack-2 is down")
        until(lambda: line.evaluate(probes.PIXELS)["newest"] == 0)  # Silence is a gap, not a line.
        after = line.evaluate(probes.PIXELS)
        assert after["inked"] > 10
        assert after["colourful"] == 0
        assert spark(page, "rack-1", "CPU").evaluate(probes.PIXELS)["newest"] > 20
        assert page.evaluate("window.notReloaded") is True


def test_a_late_node_is_shown_as_quiet_before_it_counts_as_down(page: Page) -> None:
    with Served(two_nodes(heard_s=7.0)) as served:
        page.goto(served.url)
        expect(card(page, "rack-2").locator(".standing")).to_have_text("Quiet")
        expect(card(page, "rack-2")).to_contain_text("last seen 7 s ago")
        expect(card(page, "rack-1").locator(".standing")).to_have_text("Up")


def test_a_fresh_page_has_the_minutes_before_it_was_opened(page: Page) -> None:
    with Served(two_nodes(), interval_s=0.01) as served:
        until(lambda: served.dashboard._history.taken >= SAMPLES_MAX)
        page.goto(served.url)
        expect(card(page, "rack-1")).to_be_visible()
        assert spark(page, "rack-1", "CPU").evaluate(probes.PIXELS)["oldest"] > 20


def test_hostile_names_are_inert_text_and_the_layout_holds(page: Page) -> None:
    nodes = tuple(
        node(name, presence("x", gpus=(gpu(name=text[:256]),),
             backends=(engine(text[:256], reason=text[:256], condition="unhealthy"), engine(text[:256]))))
        for name, text in HOSTILE.items()
    )  # fmt: skip
    named = tuple(replace(one, name=text, addresses=(text,)) for one, text in zip(nodes, HOSTILE.values(), strict=True))
    with Served(FleetView(nodes=named, notices=tuple(HOSTILE.values()))) as served:
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(served.url)
            expect(page.locator(".card")).to_have_count(len(HOSTILE))
            assert not page.evaluate(probes.TOO_WIDE)
        assert page.locator("#app script, #app img").count() == 0
        expect(page).to_have_title("6 of 6 nodes up · Propagul")
        expect(card(page, "script").locator("h3")).to_have_text(HOSTILE["script"])
        expect(card(page, "reversed").locator("h3")).to_have_text("invoice\ufffdgpj.exe")
        expect(card(page, "escape").locator("h3")).to_have_text("\ufffd[31mred\ufffd[0m\ufffd")
        assert len(card(page, "long").locator("h3").inner_text()) == 121
        heights = [one.bounding_box() for one in page.locator(".card h3").all()]
        assert all(box and box["height"] < 40 for box in heights)


def test_the_page_says_it_is_cut_off_and_recovers_by_itself_after_a_restart(page: Page) -> None:
    with Served(two_nodes()) as served:
        page.goto(served.url)
        expect(page.locator(".link")).to_have_text("live")
        page.evaluate("window.notReloaded = true")
    expect(page.locator(".banner")).to_contain_text("Disconnected from this node, retrying")
    expect(page.locator(".link")).to_have_text("disconnected")
    expect(card(page, "rack-1").locator(".standing")).to_have_text("Quiet")
    expect(page.get_by_role("status")).to_have_text("Disconnected from this node, retrying")
    with Served(two_nodes(state="down", heard_s=20.0), port=served.port):
        expect(page.locator(".link")).to_have_text("live")
        expect(page.locator(".banner")).to_have_count(0)
        expect(card(page, "rack-1").locator(".standing")).to_have_text("Up")
        expect(card(page, "rack-2").locator(".standing")).to_have_text("Down")
        assert page.evaluate("window.notReloaded") is True


def test_a_hidden_tab_gives_its_stream_back_so_that_an_eighth_tab_works(page: Page) -> None:
    with Served(two_nodes()) as served:
        tabs = [page, *(page.context.new_page() for _ in range(7))]
        for tab in tabs:
            tab.goto(served.url)
            expect(tab.locator(".link")).to_have_text("live")
            if tab is not tabs[-1]:
                tab.evaluate(probes.SHOW, "hidden")
                expect(tab.locator(".link")).to_have_text("paused")
        tabs[-1].evaluate(probes.SHOW, "hidden")
        tabs[0].evaluate(probes.SHOW, "visible")
        served.view = two_nodes(state="down", heard_s=14.0)
        expect(card(tabs[0], "rack-2").locator(".standing")).to_have_text("Down")


def test_an_empty_fleet_says_what_to_do_next(page: Page) -> None:
    with Served(FleetView(nodes=())) as served:
        page.goto(served.url)
        expect(page.locator(".guide")).to_contain_text("propagul fleet up")
        served.view = FleetView(nodes=(node("solo", presence("solo"), reach="here", heard_s=0.0),))
        expect(page.get_by_text("propagul fleet invite")).to_be_visible()
        expect(page.get_by_text("propagul fleet up --join -")).to_be_visible()
        ports = page.locator(".ports code").all_inner_texts()
        assert {int(port) for port in ports} == set(DEFAULT_PORTS)
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("status")).to_have_text(re.compile("Copied|Selected"))
        expect(page.locator(".models")).to_have_count(0)
        served.view = two_nodes()
        expect(page.locator(".guide")).to_have_count(0)
        expect(page.locator(".model")).to_have_count(2)


def test_the_models_section_says_who_has_what_and_why_some_cannot_serve(page: Page) -> None:
    both = engine("shared", url="http://127.0.0.1:1")
    view = FleetView(
        nodes=(
            node("here", presence("here", backends=(both,)), reach="here", heard_s=0.0),
            node("there", presence("there", backends=(both, engine("stuck", condition="needs_key")))),
            node("gone", presence("gone", backends=(engine("lost"),)), state="down", heard_s=30.0),
        )
    )
    with Served(view) as served:
        page.goto(served.url)
        rows = page.locator(".model")
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("shared")
        expect(rows.nth(0).locator(".place")).to_have_text(["here, loaded", "there, loaded"])
        expect(rows.nth(1)).to_contain_text("gone, down")
        expect(rows.nth(2)).to_contain_text("there, needs a key")
        expect(rows.nth(1).get_by_role("button")).to_be_disabled()
        expect(page.locator("#model option")).to_have_text(["shared"])


def test_every_text_has_enough_contrast_in_both_schemes(page: Page) -> None:
    page.set_viewport_size({"width": 1600, "height": 1000})
    ARTIFACTS.mkdir(exist_ok=True)
    with Served(rich_view()) as served:
        page.goto(served.url)
        expect(page.locator(".card")).to_have_count(6)
        schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            contrasts = page.evaluate(probes.CONTRASTS)
            page.screenshot(path=ARTIFACTS / f"every-row-{scheme}.png", full_page=True)
            assert len(contrasts) > 100
            assert [found for found in contrasts if found[0] < 4.5] == []


def test_nothing_scrolls_sideways_at_any_width(page: Page) -> None:
    with Served(rich_view()) as served:
        page.goto(served.url)
        expect(page.locator(".card")).to_have_count(6)
        for width in (360, 420, 768, 1080, 1280, 1600, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            assert not page.evaluate(probes.TOO_WIDE), width


def test_everything_is_reached_by_keyboard_with_a_visible_ring(page: Page) -> None:
    with Served(rich_view()) as served:
        page.goto(served.url)
        expect(page.locator(".card")).to_have_count(6)
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            words, ring = page.evaluate(probes.FOCUSED)
            reached.append(words)
            assert ring == "solid" or words == "", words
            if words == "model":
                break
        assert reached[0] == "Chat"
        assert {"12 more", "Chat with m-0", "question", "model"} <= set(reached)
        page.get_by_role("button", name="12 more").focus()
        page.keyboard.press("Enter")
        expect(card(page, "atlas").locator(".chip")).to_have_count(20)
        page.get_by_role("button", name="Chat with m-3", exact=True).focus()
        page.keyboard.press("Space")
        expect(page.locator("#question")).to_be_focused()
        expect(page.locator("#model")).to_have_value("m-3")


def test_reduced_motion_is_respected(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    with Served(two_nodes()) as served:
        page.goto(served.url)
        moving = "(at) => getComputedStyle(at).transitionDuration"
        assert set(page.locator(".meter > div").first.evaluate(moving).split(", ")) <= {"0s", "1e-06s"}


def test_a_sparkline_says_last_lowest_and_highest(page: Page) -> None:
    with Served(two_nodes(), interval_s=1.0) as served:
        page.goto(served.url)
        expect(spark(page, "rack-1", "CPU")).to_have_attribute(
            "aria-label", "CPU, last 2 min: now 23 %, lowest 23 %, highest 23 %"
        )
        expect(card(page, "rack-1").get_by_role("meter", name="RAM")).to_have_attribute("aria-valuenow", "33")
