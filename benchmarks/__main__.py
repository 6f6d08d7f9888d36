"""Run every benchmark that exists, and name those that do not yet: `python -m benchmarks [--quick]`.

Each runs in a process of its own, so that none warms or burdens the next. The exit code says whether they ran, not
whether a goal was met: a benchmark measures, it does not judge.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from benchmarks import NAMES


def main(arguments: list[str]) -> int:
    """Run them in order with the same arguments; 1 if one of them broke."""
    found = [name for name in NAMES if importlib.util.find_spec(f"benchmarks.{name}")]
    missing = [name for name in NAMES if name not in found]
    broken = [name for name in found if subprocess.call((sys.executable, "-m", f"benchmarks.{name}", *arguments))]
    if missing:
        print(f"not written yet: {', '.join(missing)}. {'Nothing was measured.' if not found else ''}".rstrip())
    if broken:
        print(f"broke: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
