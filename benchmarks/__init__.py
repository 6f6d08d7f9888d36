"""Benchmarks: each prints one table of figures against peers measured in the same run.

A benchmark is a module here, run as `python -m benchmarks.<name>`; `python -m benchmarks` runs all that exist. A figure
that was not measured is not printed.
"""

from __future__ import annotations

NAMES = ("store", "gossip", "fleet", "gateway", "agents", "dashboard")
"""Every benchmark that is planned, in the order in which they run."""
