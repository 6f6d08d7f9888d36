"""`python -m benchmarks.agents`."""

from __future__ import annotations

import sys

from benchmarks.agents.run import main

if __name__ == "__main__":
    sys.exit(main())
