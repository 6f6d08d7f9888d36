"""`python -m benchmarks.store`."""

from __future__ import annotations

import sys

from benchmarks.store.run import main

if __name__ == "__main__":
    sys.exit(main())
