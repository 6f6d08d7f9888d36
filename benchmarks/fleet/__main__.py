"""`python -m benchmarks.fleet`."""

from __future__ import annotations

import sys

from benchmarks.fleet.run import main

if __name__ == "__main__":
    sys.exit(main())
