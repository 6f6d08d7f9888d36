"""What has a twin in the kernel, and whether that is used.

The kernel (`kernel/`, `propagul._kernel`) is optional: a wheel built without a compiler has none, and Python does all.
A function with a twin is the rule; the twin does the same, faster, and a test runs both over the same histories.
`PROPAGUL_KERNEL` says which: `auto` (the default) uses the kernel where it is, `on` insists, `off` does without.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast

from propagul.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")

KERNEL_VARIABLE: Final = "PROPAGUL_KERNEL"

_LAYOUT: Final = 6
"""Which functions and arrangement of slots and columns a kernel must know; one left over from before is not used."""


def twin_of(function: Callable[P, R]) -> Callable[P, R]:
    """The kernel's function of that name; the function itself where there is no kernel or it is not wanted.

    Raises:
        LocalProtocolError: As `kernel`.
    """
    found = kernel()
    return function if found is None else cast("Callable[P, R]", getattr(found, function.__name__))


def lean(made: type[T]) -> type[T]:
    """The kernel's class of that name, of whose objects the collector of cycles knows nothing; or the class as it is.

    For classes that add nothing to a type of Python's but a name. Which one it is, is decided once.
    """
    try:
        found = kernel()
    except LocalProtocolError:  # whoever opens a store is told
        return made
    return made if found is None else cast("type[T]", getattr(found, made.__name__))


def kernel() -> ModuleType | None:
    """The kernel, where there is one and it is wanted.

    Raises:
        LocalProtocolError: `PROPAGUL_KERNEL` is `on` and there is none, or it is no word known here.
    """
    match os.environ.get(KERNEL_VARIABLE, "").strip() or "auto":
        case "off":
            return None
        case "auto":
            return _found()
        case "on":
            found = _found()
            if found is None:
                raise LocalProtocolError(
                    f"{KERNEL_VARIABLE} is 'on', and this installation has no kernel: it was built without a C "
                    "compiler or for another version of Python; install it anew where there is one, or set it to 'auto'"
                )
            return found
        case other:
            raise LocalProtocolError(f"{KERNEL_VARIABLE} is {other!r}; it takes 'auto', 'on' or 'off'")


@functools.cache
def _found() -> ModuleType | None:
    try:
        kernel = importlib.import_module("propagul._kernel")
    except ImportError:
        return None
    return kernel if kernel.LAYOUT == _LAYOUT else None
