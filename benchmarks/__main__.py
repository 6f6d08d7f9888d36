"""Run every benchmark that exists, and name those that do not yet: `python -m benchmarks [--json FILE] [--quick]`.

Each runs in a process of its own, so that none warms or burdens the next, and writes a file of its own: where
`figures.json` was asked for, `figures.store.json`. The exit code says whether they ran, not whether a goal was met: a
benchmark measures, it does not judge.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from benchmarks import NAMES
from benchmarks.form import Options


def main(arguments: list[str]) -> int:
    """Run them in order with the same options; 1 if one of them broke."""
    options = Options.parse("", arguments)
    found = [name for name in NAMES if importlib.util.find_spec(f"benchmarks.{name}")]
    missing = [name for name in NAMES if name not in found]
    broken = [name for name in found if subprocess.call([sys.executable, "-m", *command(name, options)])]
    if missing:
        print(f"not written yet: {', '.join(missing)}. {'Nothing was measured.' if not found else ''}".rstrip())
    if broken:
        print(f"broke: {', '.join(broken)}")
    return 1 if broken else 0


def command(name: str, options: Options) -> list[str]:
    """The module of one benchmark and its options, with a file of its own."""
    chosen = [f"benchmarks.{name}"]
    if options.quick:
        chosen.append("--quick")
    if options.json is not None:
        chosen += ["--json", str(options.json.with_suffix(f".{name}{options.json.suffix}"))]
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
