"""A registry of models on loopback, as far as a real Ollama asks one: manifests, and blobs by ranges.

A blob is asked for at one host name and comes from another, because Ollama reads where it was sent to.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LAYERS = {"model": "application/vnd.ollama.image.model", "template": "application/vnd.ollama.image.template"}


class _Shelf(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    blobs: ClassVar[dict[str, bytes]] = {}
    manifests: ClassVar[dict[str, bytes]] = {}
    port: ClassVar[int] = 0

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, _, name = self.path.rpartition("/")
        if manifest := self.manifests.get(self.path):
            self._send(200, manifest, {"Content-Type": _MANIFEST})
        elif kind.endswith("/blobs") and name in self.blobs and self.command == "GET":
            self._send(307, b"", {"Location": f"http://localhost:{self.port}/raw/{name}"})
        elif name in self.blobs:
            self._send_range(self.blobs[name])
        else:
            self._send(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}', {})

    def _send_range(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, content, {})
            return
        first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
        part = content[first : last + 1]
        self._send(206, part, {"Content-Range": f"bytes {first}-{last}/{len(content)}"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def registry(models: Mapping[str, Path]) -> Iterator[str]:
    """Serve these model files under `me/<name>:latest`; yields what stands before a name: `127.0.0.1:PORT/me/`."""

    class shelf(_Shelf):  # noqa: N801 - one value, of this registry
        blobs: ClassVar[dict[str, bytes]] = {}
        manifests: ClassVar[dict[str, bytes]] = {}

    def put(content: bytes, media_type: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        shelf.blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    for name, path in models.items():
        layers = [put(path.read_bytes(), _LAYERS["model"]), put(b"{{ .Prompt }}", _LAYERS["template"])]
        about = {
            "model_format": "gguf",
            "model_family": "llama",
            "model_families": ["llama"],
            "model_type": "120K",
            "file_type": "F32",
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        config = put(json.dumps(about).encode(), "application/vnd.docker.container.image.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}
        shelf.manifests[f"/v2/me/{name}/manifests/latest"] = json.dumps(manifest).encode()
    with ThreadingHTTPServer(("127.0.0.1", 0), shelf) as server:
        shelf.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}/me/"
        finally:
            server.shutdown()
            thread.join()
