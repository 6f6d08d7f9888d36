"""What the wheel is built with: the kernel (`kernel/`) is compiled where that is possible and left out elsewhere.

Nobody needs it: without it the wheel is pure Python and runs everywhere, and a store's `set` and `get` take longer.
With it the wheel is tagged for this Python and this platform. An editable install finds it in the source tree.
`HATCH_BUILD_NO_HOOKS=true` builds the pure wheel whatever is here.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "kernel"
FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O3", "-fPIC", "-fvisibility=hidden")


class NotBuiltError(Exception):
    """There is no kernel for this Python on this machine; the message says why."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles the kernel into the wheel, or into the source tree for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling. Never fails for want of a compiler."""
        if self.target_name != "wheel":
            return
        self._made: tempfile.TemporaryDirectory[str] | None = None
        try:
            if version == "editable":
                compile_kernel(ROOT / "propagul")
                return
            self._made = tempfile.TemporaryDirectory(prefix="propagul-kernel-")
            built = compile_kernel(Path(self._made.name))
        except NotBuiltError as why:
            self.app.display_warning(f"Built without the kernel: {why}. Everything works, `set` and `get` take longer.")
            return
        build_data["force_include"][str(built)] = f"propagul/{built.name}"
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's
        """See hatchling."""
        made = getattr(self, "_made", None)
        if made is not None:
            made.cleanup()


def compile_kernel(directory: Path, flags: Sequence[str] = ()) -> Path:
    """Compile the kernel for the running Python and return the file.

    Raises:
        NotBuiltError: There is no compiler, no header of Python's, or this Python cannot use it.
    """
    if sys.platform == "win32" or sys.implementation.name != "cpython":
        raise NotBuiltError("it is made for CPython on POSIX")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotBuiltError("it needs the GIL, and this Python runs without")
    target = directory / f"_kernel{sysconfig.get_config_var('EXT_SUFFIX')}"
    draft = target.with_suffix(".draft")  # a process that has the former one mapped must not see it change
    linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    include = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    try:
        command = [*linker, *FLAGS, *flags, *include, *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(draft)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Python's compiler
    except OSError as error:
        raise NotBuiltError(f"{linker[0]} cannot be run ({error.strerror})") from error
    if done.returncode:
        raise NotBuiltError(f"{linker[0]} said: {_complaint(done.stderr)}")
    draft.replace(target)
    return target


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[-1] if lines else "nothing")
