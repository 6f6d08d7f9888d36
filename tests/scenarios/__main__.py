"""`python -m tests.scenarios SEED [COUNT] [--real]` runs the scenarios of seeds from SEED on."""

from __future__ import annotations

import argparse

from tests.scenarios.running import play_seed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--real", action="store_true", help="over TCP on loopback instead of in memory")
    wanted = parser.parse_args()
    for seed in range(wanted.seed, wanted.seed + wanted.count):
        play_seed(seed, real=wanted.real)
    print(f"{wanted.count} scenarios, 0 failures")


if __name__ == "__main__":
    main()
