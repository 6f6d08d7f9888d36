"""The line that ends an exposure, by engine and system, after the documentation of each.

An engine on loopback is served all the same: other boxes reach it through this node.
"""

from __future__ import annotations

from typing import Final

_CONTAINERS: Final = (
    "docker-proxy",
    "com.docker.backend",
    "vpnkit",
    "rootlessport",
    "pasta",
    "slirp4netns",
    "wslrelay",
)
"""Programs that hold a port for a container."""

_OLLAMA: Final = {
    "linux": (
        "sudo systemctl edit ollama, write the lines [Service] and Environment=OLLAMA_HOST=127.0.0.1:{port}, then: "
        "sudo systemctl restart ollama"
    ),
    "darwin": (
        'turn "Expose Ollama to the network" off in its settings; if it was set by hand: launchctl unsetenv '
        "OLLAMA_HOST, then start Ollama again"
    ),
    "win32": (
        'turn "Expose Ollama to the network" off in its settings, remove OLLAMA_HOST from your environment variables, '
        "then start Ollama again"
    ),
}

_ENGINES: Final = {
    "llamacpp": "start it with: llama-server --host 127.0.0.1 (or --api-key-file FILE, which asks for a key)",
    "vllm": "start it with: vllm serve --host 127.0.0.1 (or --api-key KEY, which guards /v1 alone)",
    "tgi": "start it with: text-generation-launcher --hostname 127.0.0.1",
    "lmstudio": 'turn "Serve on Local Network" off in the server settings of LM Studio',
    "sglang": "start it with: python -m sglang.launch_server --host 127.0.0.1",
    "localai": "start it with: local-ai run --address 127.0.0.1:{port}",
    "koboldcpp": "start it with: koboldcpp --host 127.0.0.1",
    "mlx": "start it with: mlx_lm.server --host 127.0.0.1",
}

_ANY: Final = "have it listen on 127.0.0.1 only, or have it ask for a key"
_PUBLISHED: Final = "it runs in a container: publish its port to this box alone: -p 127.0.0.1:{port}:..."

_UPDATE_OLLAMA: Final = {
    "linux": "update it: curl -fsSL https://ollama.com/install.sh | sh",
    "darwin": "update it: restart Ollama when its menu offers an update",
    "win32": "update it: restart Ollama when its menu offers an update",
}


def to_close(kind: str, port: int, platform: str, program: str = "") -> str:
    """Return how to have an engine of a kind answer its own box alone."""
    if program.lower().removesuffix(".exe") in _CONTAINERS:
        return _PUBLISHED.format(port=port)
    text = _OLLAMA.get(platform, _ANY) if kind == "ollama" else _ENGINES.get(kind, _ANY)
    return text.format(port=port)


def to_update_ollama(platform: str, program: str = "") -> str:
    """Return how to get a newer Ollama."""
    if program.lower().removesuffix(".exe") in _CONTAINERS:
        return "update it: docker pull ollama/ollama, then start its container anew"
    return _UPDATE_OLLAMA.get(platform, "update it")
