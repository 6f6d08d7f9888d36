"""Runs the Python blocks of a page as one program."""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.workshop.documents import Block


def run_as_one_program(found: list[Block], names: dict[str, object], replace: dict[str, str]) -> None:
    """Run blocks in order, in one namespace and event loop; a traceback names the page and its line."""

    async def main() -> None:
        for block in found:
            code = block.code
            for old, new in replace.items():
                code = code.replace(old, new)
            source = "\n" * (block.line - 1) + code
            compiled = compile(source, block.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if compiled.co_flags & inspect.CO_COROUTINE:
                await eval(compiled, names)
            else:  # what blocks runs beside the loop, in which the other store lives
                await asyncio.to_thread(eval, compiled, names)

    asyncio.run(main())
