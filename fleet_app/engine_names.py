"""Engines as their makers write them, by the words that rows use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINE_NAMES: Final[Mapping[str, str]] = {
    "llamacpp": "llama.cpp",
    "ollama": "Ollama",
    "vllm": "vLLM",
    "tgi": "TGI",
    "lmstudio": "LM Studio",
    "sglang": "SGLang",
    "localai": "LocalAI",
    "koboldcpp": "KoboldCpp",
    "tabbyapi": "TabbyAPI",
    "lemonade": "Lemonade",
    "docker": "Docker Model Runner",
    "mlx": "mlx_lm",
    "jan": "Jan",
    "openai": "OpenAI-compatible server",
    "unknown": "unknown engine",
}
