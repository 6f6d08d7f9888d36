"""The page and its files over HTTP: headers, nonces, the fixed table, the weight of a first visit."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from fleet_app.dashboard.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from multidict import CIMultiDictProxy

FIRST_LOAD_BYTES_MAX = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


def with_pages(check: Callable[[Callable[..., Awaitable[Answered]]], Awaitable[None]]) -> None:
    """Serve the pages on a loopback port and run `check` with a function that gets a path, undecoded and as sent."""

    async def serve() -> None:
        app = web.Application()
        app.add_routes(Pages().routes())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def get(path: str, **headers: str) -> Answered:
                from yarl import URL

                url = URL(f"http://127.0.0.1:{port}{path}", encoded=True)
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                async with session.get(url, headers=named) as response:
                    return Answered(status=response.status, headers=response.headers, body=await response.read())

            await check(get)
        await runner.cleanup()

    asyncio.run(serve())


def addresses(page: bytes) -> list[str]:
    return sorted(set(re.findall(r'/static/[^"]+', page.decode())))


def test_the_page_carries_the_strict_policy_with_its_own_nonce() -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        page = await get("/")
        policy = page.headers["Content-Security-Policy"]
        (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
        assert policy == (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'"
        )
        assert set(re.findall(rb'nonce="([^"]+)"', page.body)) == {nonce.encode()}
        assert page.headers["Cache-Control"] == "no-store"

    with_pages(check)


def test_no_two_answers_share_a_nonce() -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        policies = {(await get("/")).headers["Content-Security-Policy"] for _ in range(20)}
        assert len(policies) == 20

    with_pages(check)


def test_every_answer_forbids_sniffing_referrers_and_foreign_windows() -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        page = await get("/")
        for answer in (page, await get(addresses(page.body)[0]), await get("/static/x/nothing.js")):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"

    with_pages(check)


def test_a_file_is_cached_for_ever_under_its_content_and_revalidates() -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        for address in addresses((await get("/")).body):
            found = await get(address)
            assert found.status == 200, address
            assert "immutable" in found.headers["Cache-Control"]
            assert (await get(address, If_None_Match=found.headers["ETag"])).status == 304
            assert (await get(address, If_None_Match='W/"other"')).status == 200

    with_pages(check)


@pytest.mark.parametrize(
    "name",
    ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "....//index.html", "index.html", "vendor/VENDOR.toml",
     "vendor/htm/LICENSE", "app.js%00", "/etc/passwd", "vendor", "vendor/", "."],
)  # fmt: skip
def test_nothing_outside_the_table_is_found(name: str) -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        entry = next(a for a in addresses((await get("/")).body) if a.endswith("/app.js"))
        assert (await get(entry.removesuffix("app.js") + name)).status == 404

    with_pages(check)


def test_an_older_fingerprint_is_not_found() -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        assert (await get("/static/0123456789abcdef/app.js")).status == 404

    with_pages(check)


def test_a_first_visit_weighs_less_than_sixty_kilobytes() -> None:
    async def check(get: Callable[..., Awaitable[Answered]]) -> None:
        page = await get("/")
        files = [await get(address, Accept_Encoding="gzip") for address in addresses(page.body)]
        assert {file.headers["Content-Encoding"] for file in files} == {"gzip"}
        weight = len(page.body) + sum(len(file.body) for file in files)
        assert 15_000 < weight < FIRST_LOAD_BYTES_MAX

    with_pages(check)
