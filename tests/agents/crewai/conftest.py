"""CrewAI as the tests here want it: silent, offline, and imported once, with the warnings that are its own business."""

from __future__ import annotations

import os
import warnings

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import crewai  # noqa: F401 - for what the import does
