"""`python -m benchmarks.gossip`."""

from __future__ import annotations

import sys

from benchmarks.gossip.run import main

if __name__ == "__main__":
    sys.exit(main())
