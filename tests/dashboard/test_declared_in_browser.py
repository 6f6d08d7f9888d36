"""What should be there, on the page: how it stands on each box, pulls with their progress, conflicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect

from fleet_app.desired.shown import declared_json
from fleet_app.exposure.kind import Exposure
from fleet_app.presence import Condition, Gpu, Model, Pull
from fleet_app.view import FleetView, NodeView
from tests.dashboard import probes
from tests.dashboard.harness import Served, engine, node, presence
from tests.dashboard.test_page_in_browser import ARTIFACTS, HOSTILE
from tests.desired.facts import declared

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("declared")]  # one worker, so that one browser starts

URL = "http://127.0.0.1:11434"


def doing(name: str, *conditions: Condition, pulls: tuple[Pull, ...] = (), up: bool = True) -> NodeView:
    said = presence(name, backends=(engine("llama3.2:3b", kind="ollama", url=URL),))
    said = said.model_copy(update={"conditions": conditions, "pulls": pulls})
    return node(name, said, reach="linked" if up else "none", state="up" if up else "down", heard_s=0.5)


def world(done_bytes: int = 1_200_000_000) -> FleetView:
    pull = Pull(model="qwen3:8b", url=URL, status="pulling", completed_bytes=done_bytes, total_bytes=5_200_000_000)
    loaded = Condition(model="llama3.2:3b", kind="Ready", reason="loaded")
    coming = Condition(model="qwen3:8b", kind="Progressing", reason="being pulled")
    full = Condition(model="llama3.2:3b", kind="Blocked", reason="needs 7.1 GB more disk on cellar")
    strange = Condition(model=HOSTILE["image"], kind="Degraded", reason=HOSTILE["script"])
    nodes = (
        doing("attic", loaded, coming, pulls=(pull,)),
        doing("cellar", full, strange),
        doing("dune", loaded, up=False),
    )
    return FleetView(nodes=nodes)


WANTED = declared(
    **{  # type: ignore[arg-type]  # fields of several types
        "llama3.2:3b": {"where": "all", "loaded": True},
        "qwen3:8b": {"where": {"labels": {"gpu": "nvidia"}, "vram_gb": ">=8"}, "replicas": 2},
        "old-model": {"where": "all", "state": "absent"},
        "orphan": {"replicas": 2},
        HOSTILE["image"]: {"where": ["cellar"]},
    }
)


def row(page: Page, name: str) -> Locator:
    return page.locator(".panel", has=page.locator("#declared-head")).locator(".model", has_text=name)


def test_what_is_declared_is_shown_with_how_it_stands_and_a_pull_that_moves(page: Page) -> None:
    with Served(world(), declared=declared_json(WANTED)) as served:
        page.goto(served.url)
        expect(page.locator("#declared-head")).to_contain_text("5")
        for words in ("every node", "kept in memory", "attic", "ready", "loaded", "needs 7.1 GB more disk on cellar"):
            expect(row(page, "llama3.2:3b")).to_contain_text(words)
        expect(row(page, "llama3.2:3b")).not_to_contain_text("dune")
        expect(row(page, "qwen3:8b")).to_contain_text("2 of gpu=nvidia and VRAM >=8 GiB")
        expect(row(page, "qwen3:8b")).to_contain_text("1.2 GB of 5.2 GB")
        bar = row(page, "qwen3:8b").get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-valuenow", "23")
        served.view = world(2_600_000_000)
        expect(bar).to_have_attribute("aria-valuenow", "50")
        expect(row(page, "old-model")).to_contain_text("absent from every node")
        expect(row(page, "orphan")).to_contain_text("nobody says where")
        expect(page.locator("script", has_text="owned")).to_have_count(0)
        assert page.title() != "owned"
        ARTIFACTS.mkdir(exist_ok=True)
        schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            assert [found for found in page.evaluate(probes.CONTRASTS) if found[0] < 4.5] == []
            page.screenshot(path=ARTIFACTS / f"declared-{scheme}.png", full_page=True)
        page.set_viewport_size({"width": 360, "height": 800})
        assert not page.evaluate(probes.TOO_WIDE)
        page.screenshot(path=ARTIFACTS / "declared-narrow.png", full_page=True)


def test_what_is_open_to_others_held_back_and_waiting_is_said_on_the_card(page: Page) -> None:
    open_to_all = Exposure(
        url=URL,
        severity="danger",
        words="anybody on the LAN can use and delete the models of this Ollama",
        remedy=HOSTILE["script"],
    )
    model = Model(name="m", loaded=True, context=8192, capabilities=("chat", "tools"), vram_bytes=3_200_000_000)
    held = Gpu(index=0, name="GPU", power_w=250.4, power_limit_w=300, temperature_c=88, throttled=("temperature",))
    busy = engine(model, kind="ollama", url=URL).model_copy(update={"slots": 4, "queued": 2})
    said = presence("attic", gpus=(held,), backends=(busy,)).model_copy(update={"exposures": (open_to_all,)})
    with Served(FleetView(nodes=(node("attic", said, reach="here", heard_s=0.0),))) as served:
        page.goto(served.url)
        card = page.locator(".card")
        for words in ("anybody on the LAN", "88 °C · 250 / 300 W", "held back by temperature", "4 slots", "2 waiting"):
            expect(card).to_contain_text(words)
        chip = card.locator(".chip")
        expect(chip).to_have_attribute("title", "m: loaded, 3.2 GB on the GPU, 8192 tokens of context, chat and tools")
        assert page.title() != "owned"
        schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            assert [found for found in page.evaluate(probes.CONTRASTS) if found[0] < 4.5] == []
        page.screenshot(path=ARTIFACTS / "exposed-light.png", full_page=True)


def test_a_page_of_a_fleet_that_declares_nothing_has_no_such_panel(page: Page) -> None:
    with Served(world()) as served:
        page.goto(served.url)
        expect(page.locator(".card")).to_have_count(3)
        expect(page.locator("#declared-head")).to_have_count(0)
