"""Serve a model file with llama.cpp's own HTTP server, out of the Python wheel `xllamacpp`.

The wheel has no command line and runs the server in threads of this process, so this file stands in for the
`llama-server` executable: the same flag names, one process a server. It prints `LISTENING <url>` once the model is
loaded (HTTP answers 503 before that) and ends with exit code 0 on SIGTERM or SIGINT.

    python demo/llama_server.py -m alpha.gguf --port 0 --alias alpha --metrics
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import xllamacpp

if TYPE_CHECKING:
    from collections.abc import Sequence

_POOLINGS = ("none", "mean", "cls", "last", "rank")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a model file with llama.cpp's HTTP server.")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one")
    parser.add_argument("-a", "--alias")
    parser.add_argument("-c", "--ctx-size", type=int, default=512, help="tokens, shared by all slots")
    parser.add_argument("-np", "--parallel", type=int, default=2, help="slots")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--threads-http", type=int, default=8)
    parser.add_argument("--api-key")
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--slots", action="store_true", help="on by default")
    parser.add_argument("--no-slots", action="store_true")
    parser.add_argument("--props", action="store_true")
    parser.add_argument("--warmup", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--embedding", "--embeddings", action="store_true")
    parser.add_argument("--reranking", "--rerank", action="store_true")
    parser.add_argument("--pooling", choices=_POOLINGS)
    parser.add_argument("--sleep-idle-seconds", type=int)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--stop-at-eof", action="store_true", help="also stop when standard input is closed")
    return parser.parse_args(arguments)


def _parameters(chosen: argparse.Namespace) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = chosen.model
    parameters.hostnames = [chosen.host]
    parameters.port = chosen.port
    parameters.n_ctx = chosen.ctx_size
    parameters.n_parallel = chosen.parallel
    parameters.cpuparams.n_threads = chosen.threads
    parameters.cpuparams_batch.n_threads = chosen.threads
    parameters.n_threads_http = chosen.threads_http
    parameters.fit_params = False
    parameters.warmup = chosen.warmup
    parameters.endpoint_metrics = chosen.metrics
    parameters.endpoint_slots = not chosen.no_slots
    parameters.endpoint_props = chosen.props
    _set_optional(parameters, chosen)
    return parameters


def _set_optional(parameters: xllamacpp.CommonParams, chosen: argparse.Namespace) -> None:
    if chosen.alias:
        parameters.model_alias = {chosen.alias}
    if chosen.api_key:
        parameters.api_keys = [chosen.api_key]
    parameters.embedding = chosen.embedding or chosen.reranking
    pooling = chosen.pooling or ("rank" if chosen.reranking else None)
    if pooling:
        parameters.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    if chosen.sleep_idle_seconds is not None:
        parameters.sleep_idle_seconds = chosen.sleep_idle_seconds
    if not chosen.verbose:
        parameters.verbosity = 1


def _stop_at_eof() -> None:
    """End this process when whoever started it is gone, also while the model is still loading."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parse(arguments)
    if chosen.stop_at_eof:
        _stop_at_eof()
    server = xllamacpp.Server(_parameters(chosen))
    # Server() installs its own signal handlers and returns once the model is loaded; ours come after it on purpose.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print("LISTENING", server.listening_address, flush=True)
    stop.wait()
    sys.stdout.flush()
    os._exit(0)  # the server's threads would otherwise be joined, and a running generation with them


if __name__ == "__main__":
    main()
