"""`python -m tests.backends.real` runs the contract against the real engines that are found on this machine.

Ollama and llama.cpp's router are looked for in the path and under the names in `OLLAMA` and `LLAMA_SERVER`; vLLM by
`VLLM_PYTHON`, an interpreter that can import it, and `VLLM_MODEL`, the folder of a small model. What was found and what
was not is said; with none of them it fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

ASKED = os.environ.get("REAL_ENGINES") == "1"
"""Whether real engines are to be tested: not in every run, which would depend on the machine."""


def found() -> dict[str, str | None]:
    """Each engine and where it is, None where it is not."""
    vllm = os.environ.get("VLLM_PYTHON") if os.environ.get("VLLM_MODEL") else None
    return {
        "Ollama (OLLAMA or in the path)": os.environ.get("OLLAMA") or shutil.which("ollama"),
        "llama-server (LLAMA_SERVER or in the path)": os.environ.get("LLAMA_SERVER") or shutil.which("llama-server"),
        "vLLM (VLLM_PYTHON and VLLM_MODEL)": vllm,
    }


OLLAMA, LLAMA_SERVER, VLLM_PYTHON = found().values()


def main() -> int:
    """Say what is there, test it, and return the exit code."""
    for name, place in found().items():
        print(f"{'found  ' if place else 'missing'}  {name}{f': {place}' if place else ''}")
    if not any(found().values()):
        print("no real engine is found on this machine, so nothing was tested")
        return 1
    os.environ["REAL_ENGINES"] = "1"
    return pytest.main([str(Path(__file__).with_name("test_real_engines.py")), "-n", "0", "-v"])


if __name__ == "__main__":
    sys.exit(main())
