"""The dashboard of a real fleet in a real browser: real nodes, real engines, no complaint of any kind.

`SCREENSHOTS=docs/assets python -m pytest tests/dashboard/test_live_fleet.py` renews the pictures in README.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.engines import llama_server
from tests.fleet.boxes import node, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.engine]

PICTURES = Path(os.environ.get("SCREENSHOTS", Path(__file__).resolve().parents[1] / "artifacts"))
ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_a_real_fleet_shows_its_boxes_and_answers_a_chat(tmp_path: Path, page: Page) -> None:
    with (
        llama_server("alpha-8b", "This is alpha speaking from the first box.") as alpha,
        llama_server("bravo-14b", "Hello from the second machine, through an encrypted tunnel.") as bravo,
        node("workstation", tmp_path / "a", "--backend", alpha.url) as first,
        node("attic", tmp_path / "b", "--backend", bravo.url, join=first.token) as second,
    ):
        wait_for(lambda: len(first.models()) == 2, 30)
        page.set_viewport_size({"width": 1180, "height": 720})
        page.goto(f"http://127.0.0.1:{first.port}/")
        cards = page.locator(".card[data-node]")
        expect(cards).to_have_count(2)
        expect(cards.first).to_contain_text("workstation")
        expect(cards.nth(1)).to_contain_text("bravo-14b")
        page.get_by_role("combobox").select_option("bravo-14b")
        page.get_by_placeholder("Ask something").fill("Who is there?")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("Hello from the second machine")).to_be_visible()
        page.wait_for_timeout(float(os.environ.get("SCREENSHOTS_AFTER_MS", "0")))
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            PICTURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURES / f"dashboard-{scheme}.png")
        second.kill()
        expect(cards.nth(1)).to_contain_text(re.compile("down", re.IGNORECASE))
        expect(page.get_by_role("combobox")).to_contain_text("bravo-14b (not available now)")
        page.goto("about:blank")
