"""The page itself and its files over HTTP, with the headers that keep strangers' text inert.

Every page carries its own nonce; a script or style without it does not run, markup built from strings is refused by
the browser (Trusted Types), and nothing may be loaded from, sent to or framed by another origin. The template holds no
value that came from the network: the fleet arrives later, as JSON, and is drawn as text.
"""

from __future__ import annotations

import json
import secrets
from importlib.resources import files
from string import Template

from aiohttp import web

from fleet_app.dashboard.assets import AssetTable

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every response of this room."""

IMMUTABLE = "public, max-age=31536000, immutable"

IMPORTS = {
    "preact": "vendor/preact/preact.mjs",
    "preact/hooks": "vendor/preact/hooks.mjs",
    "@preact/signals-core": "vendor/signals-core/signals-core.mjs",
    "@preact/signals": "vendor/signals/signals.mjs",
    "htm": "vendor/htm/htm.mjs",
}
"""The libraries' bare names and where their files are."""


class Pages:
    """Answers `GET /` and `GET /static/...`. Holds no state but the files."""

    def __init__(self) -> None:
        folder = files("fleet_app.dashboard") / "static"
        self._assets = AssetTable.of(folder)
        table = self._assets
        modules = [*table.named(".mjs"), *table.named(".js")]
        self._filled = {
            "imports": json.dumps({"imports": {name: table.address(file) for name, file in IMPORTS.items()}}),
            "entry": table.address("app.js"),
            "style": table.address("style.css"),
            "icon": table.address("icon.svg"),
        }
        self._modules = [table.address(name) for name in modules]
        self._template = Template((folder / "index.html").read_text("utf-8"))

    def routes(self) -> list[web.AbstractRouteDef]:
        """The two routes."""
        return [web.get("/", self.page), web.get(r"/static/{fingerprint}/{name:.+}", self.file)]

    async def page(self, _request: web.Request) -> web.Response:
        """The page, with a nonce of its own."""
        nonce = secrets.token_urlsafe(18)
        headers = {**HEADERS, "Content-Security-Policy": POLICY.format(nonce=nonce), "Cache-Control": "no-store"}
        preloads = "\n".join(
            f'<link rel="modulepreload" nonce="{nonce}" href="{address}">' for address in self._modules
        )
        text = self._template.substitute(self._filled, nonce=nonce, preloads=preloads)
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def file(self, request: web.Request) -> web.Response:
        """One file of the table; any other name, or one under an older fingerprint, is not found."""
        asset = self._assets.files.get(request.match_info["name"])
        if asset is None or request.match_info["fingerprint"] != self._assets.fingerprint:
            return web.Response(status=404, text="no such file\n", headers=HEADERS)
        headers = {**HEADERS, "ETag": asset.etag, "Cache-Control": IMMUTABLE, "Vary": "Accept-Encoding"}
        if asset.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        headers |= {"Content-Type": asset.content_type, "Content-Security-Policy": "default-src 'none'"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=asset.gzipped, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=asset.plain, headers=headers)
