"""Hostile bytes that coverage leads to: `make fuzz`, or `python -m tests.guided SECONDS [DECODER ...]`.

Atheris (libFuzzer) watches which lines of Python a frame reaches and mutates those that reached something new. Every
decoder of `tests.fuzz` has its share of the time, in a process of its own and by Python's twin of the kernel, whose
lines can be watched; what was found is then given to the compiled kernel. The frames are kept in `tests/artifacts/fuzz`
and are where the next run begins. A decoder that raises what it must not, takes ten seconds or 2 GiB ends the run with
the line that replays it.

Nothing of propagul or the fleet is imported here before it is watched.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).resolve().parent / "artifacts" / "fuzz"
LENGTH_MAX: Final = 4096
MISSING: Final = (
    "atheris is not installed, so no coverage-guided fuzzing was done, only the seeded kind. It has wheels for Linux "
    "and some versions of Python: python -m pip install --group fuzz"
)


def main(seconds: float, *names: str) -> int:
    """Fuzz these decoders, or all; return 0 if nothing was found."""
    if importlib.util.find_spec("atheris") is None:
        print(MISSING)
        return 0
    from tests import fuzz

    chosen = names or tuple(fuzz.DECODERS)
    for name in chosen:
        place = seeded(name, fuzz.GOOD.get(name) or [frame for frames in fuzz.GOOD.values() for frame in frames])
        command = [sys.executable, "-m", "tests.guided", "watch", name, str(max(1, round(seconds / len(chosen))))]
        env = os.environ | {"PROPAGUL_KERNEL": "off"}
        watched = subprocess.run(
            command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if watched.returncode:
            print("\n".join(line for line in watched.stdout.splitlines() if not line.startswith("INFO: ")))
            print(f"replay: python -m tests.guided give {name!r} FILE, where FILE is the test unit written to {place}")
            return 1
        print(f"{name}: {last_line(watched.stdout)}; {len(list(place.iterdir()))} frames kept", flush=True)
    give(chosen)
    return 0


def seeded(name: str, frames: list[bytes]) -> Path:
    """The frames a decoder begins with, one a file."""
    place = CORPUS / name.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        (place / hashlib.sha1(frame, usedforsecurity=False).hexdigest()).write_bytes(frame)
    return place


def watch(name: str, seconds: str) -> None:
    """Fuzz one decoder in this process, which ends with it."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["propagul", "fleet_app"]):
        from tests import fuzz

    place = seeded(name, [])

    def take(packed: bytes) -> None:
        fuzz.give(name, packed, "")

    limits = [f"-max_total_time={seconds}", f"-max_len={LENGTH_MAX}", "-timeout=10", "-rss_limit_mb=2048"]
    report = [f"-artifact_prefix={place}/", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *report, str(place)], take)
    atheris.Fuzz()


def give(names: tuple[str, ...], *files: str) -> None:
    """Give what was found to the decoders as they are used, the compiled kernel's where there is one."""
    from tests import fuzz

    count = 0
    for name in names:
        for file in map(Path, files or sorted(map(str, seeded(name, []).iterdir()))):
            fuzz.give(name, file.read_bytes(), f"replay: python -m tests.guided give {name!r} {file}")
            count += 1
    print(f"{count} frames given to the decoders as they are used, 0 failures")


def last_line(text: str) -> str:
    """How often the decoder was called."""
    found = [line for line in text.splitlines() if "number_of_executed_units" in line]
    return f"{found[-1].rpartition(' ')[2]} calls" if found else "no call counted"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["watch", name, seconds]:
            watch(name, seconds)
        case ["give", name, *files]:
            give((name,), *files)
        case [seconds, *names]:
            sys.exit(main(float(seconds), *names))
