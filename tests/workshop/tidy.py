"""The house rules that a machine can check and no linter does. `tests/test_tidy.py` applies them to the repository.

A rule takes a file's name and text and yields `Finding`s; nothing here reads the disk except `repository_files`. Every
number and every list that may have to change stands in the first block. Words that must not stand in the repository are
spelt here in pieces, so that this file passes its own rules.
"""

from __future__ import annotations

import ast
import re
import subprocess
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent

PACKAGES = ("propagul/", "fleet_app/")
"""What users install: sizes, docstrings, system calls and wide excepts are checked here."""

VENDORED = "fleet_app/dashboard/static/vendor/"
"""Other people's files, as they are; only their size in git is checked."""

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
BINARY_BYTES_MAX = 256 * 1024

SYSTEM_MODULES = ("propagul/_system.py", "fleet_app/_system.py")
"""Where calls that differ by operating system may stand. To allow one elsewhere, name the file and the call below."""

SYSTEM_CALLS_ALLOWED: frozenset[tuple[str, str]] = frozenset()
"""Exceptions to the rule: (file, call as the finding names it), each with its reason in a comment."""

SYSTEM_IMPORTS = frozenset({"fcntl", "grp", "msvcrt", "pty", "pwd", "resource", "subprocess", "termios", "winreg"})
SYSTEM_CALLS = frozenset(
    {"signal.signal", "signal.alarm", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"}
    | {f"os.{name}" for name in ("chmod", "chown", "fchmod", "fdatasync", "fork", "fsync", "kill", "killpg", "link")}
    | {f"os.{name}" for name in ("rename", "replace", "symlink", "umask", "getuid", "geteuid", "posix_fallocate")}
)
SYSTEM_METHODS = frozenset({"add_signal_handler", "chmod", "hardlink_to", "symlink_to"})

FORBIDDEN_WORDS = {
    "a path of one machine": r"(?<![\w.~})-])/(?:work|root|farm)/",
    "a package host": "|".join(
        (
            r"pypi\.or" + "g",
            "pythonhos" + "ted",
            r"npmjs\.",
            r"unpkg\.",
            "jsdel" + "ivr",
            r"esm\.s" + "h",
            r"deb\.debian\.org",
        )
    ),
}
WORDS_ALLOWED = frozenset({("tests/cli/test_status.py", "/ro" + "ot/")})
"""Exceptions: (file, word). The home of root is what that test is about."""

LEFTOVERS = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")


class Finding(NamedTuple):
    """A place that breaks a rule."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Source(NamedTuple):
    """A file by its name in the repository, with forward slashes, and its text."""

    path: str
    text: str

    @property
    def is_package(self) -> bool:
        """Whether users install it, as Python of ours."""
        return self.path.startswith(PACKAGES) and self.path.endswith(".py")

    def tree(self) -> ast.Module:
        """The file as Python reads it."""
        return ast.parse(self.text, self.path)


def long_files(source: Source) -> Iterator[Finding]:
    """Files that hold more than one noun."""
    lines = source.text.count("\n")
    if source.is_package and lines > FILE_LINES_MAX:
        yield Finding(source.path, lines, f"{lines} lines, the limit is {FILE_LINES_MAX}")


def long_functions(source: Source) -> Iterator[Finding]:
    """Functions nobody reads to the end."""
    if not source.is_package:
        return
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield Finding(source.path, node.lineno, f"{node.name} has {lines} lines, over {FUNCTION_LINES_MAX}")


def leftovers(source: Source) -> Iterator[Finding]:
    """Work left for later without a place where it is kept."""
    yield from _matches(source, LEFTOVERS, "left for later")


def forbidden_words(source: Source) -> Iterator[Finding]:
    """Words that tie the project to one machine or one host."""
    for what, pattern in FORBIDDEN_WORDS.items():
        found = _matches(source, re.compile(pattern), what)
        yield from (
            finding for finding in found if (source.path, finding.what.removeprefix(f"{what}: ")) not in WORDS_ALLOWED
        )


def wide_excepts(source: Source) -> Iterator[Finding]:
    """Handlers of everything that go on, unless their line says which supervisor they are: `supervisor: <why>`.

    The remark may also stand on the line above.
    """
    if not source.is_package:
        return
    lines = ["", *source.text.splitlines()]
    for node in ast.walk(source.tree()):
        line = getattr(node, "lineno", 0)
        if _catches_all(node) and not re.search(r"#.*\bsupervisor: \S+", "\n".join(lines[line - 1 : line + 1])):
            yield Finding(source.path, line, "a wide except that is no supervisor")


def system_calls(source: Source) -> Iterator[Finding]:
    """Calls that differ by operating system, outside the one module that may make them."""
    if not source.is_package or source.path in SYSTEM_MODULES:
        return
    tree = source.tree()
    names = _imported_names(tree)
    for node in ast.walk(tree):
        for call in _system_uses(node, names):
            if (source.path, call) not in SYSTEM_CALLS_ALLOWED:
                yield Finding(
                    source.path, getattr(node, "lineno", 1), f"{call} belongs to {' or '.join(SYSTEM_MODULES)}"
                )


def missing_docstrings(source: Source) -> Iterator[Finding]:
    """Modules, private ones too, that do not say what lives in them."""
    if source.is_package and source.text.strip() and not ast.get_docstring(source.tree()):
        yield Finding(source.path, 1, "no module docstring")


def public_any(source: Source) -> Iterator[Finding]:
    """`Any` in a public signature of the library."""
    if not source.path.startswith("propagul/") or not source.is_package:
        return
    for function in _public_functions(source.tree()):
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for annotation in (*(argument.annotation for argument in every if argument), function.returns):
            if annotation and re.search(r"\bAny\b", ast.unparse(annotation)):
                yield Finding(source.path, function.lineno, f"Any in the signature of {function.name}")


def large_binary(path: str, content: bytes) -> Iterator[Finding]:
    """Binary files that make every clone heavy for ever."""
    if b"\0" in content[:8192] and len(content) > BINARY_BYTES_MAX:
        yield Finding(path, 1, f"binary, {len(content)} bytes, the limit is {BINARY_BYTES_MAX}")


def loose_mode(path: str, mode: int, umask: int) -> Iterator[Finding]:
    """Files others may write, although this account's umask would not have made them so."""
    if mode & umask & 0o022:
        yield Finding(path, 1, f"mode {mode & 0o777:o} lets others write")


@cache
def repository_files() -> tuple[str, ...]:
    """What git tracks or would track; without git (an unpacked archive) all files that .gitignore does not name."""
    git = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        listed = [name.as_posix() for name in names if not _is_ignored(name, [".git", *ignored])]
    return tuple(sorted(name for name in listed if name and (ROOT / name).is_file()))


def _is_ignored(name: Path, patterns: list[str]) -> bool:
    places = (*name.parts, *(place.as_posix() for place in (name, *name.parents)))
    return any(fnmatch(place, pattern) for place in places for pattern in patterns)


def _matches(source: Source, pattern: re.Pattern[str], what: str) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if found := pattern.search(line):
            yield Finding(source.path, number, f"{what}: {found.group()}")


def _catches_all(node: ast.AST) -> bool:
    """Whether a node is `except:`, `except Exception` in any spelling, or `suppress(Exception)`, and raises nothing."""
    if isinstance(node, ast.ExceptHandler):
        raises_again = isinstance(last := node.body[-1], ast.Raise) and last.exc is None
        return not raises_again and (node.type is None or _names_everything(node.type))
    called = isinstance(node, ast.Call) and ast.unparse(node.func) in {"suppress", "contextlib.suppress"}
    return called and any(map(_names_everything, node.args))  # type: ignore[attr-defined]  # a Call has args


def _names_everything(node: ast.expr) -> bool:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(part, ast.Name) and part.id in {"Exception", "BaseException"} for part in parts)


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """What each name at hand stands for: `_os` for `os`, `fsync` for `os.fsync`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _system_uses(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """The forbidden imports, functions and methods that one node uses."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in SYSTEM_IMPORTS)
    elif isinstance(node, ast.ImportFrom) and node.module in SYSTEM_IMPORTS:
        yield node.module
    elif isinstance(node, ast.Name) and names.get(node.id) in SYSTEM_CALLS:
        yield names[node.id]
    elif isinstance(node, ast.Attribute):
        base = names.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if f"{base}.{node.attr}" in SYSTEM_CALLS:
            yield f"{base}.{node.attr}"
        elif base is None and node.attr in SYSTEM_METHODS:
            yield f".{node.attr}"
    elif (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _renames_a_path(node, node.func, names)
    ):
        yield f".{node.func.attr}"


def _renames_a_path(call: ast.Call, function: ast.Attribute, names: dict[str, str]) -> bool:
    """Whether a call is `path.rename(x)` or `path.replace(x)`; the replace of text takes two, others take keywords."""
    of_module = isinstance(function.value, ast.Name) and function.value.id in names
    return function.attr in {"rename", "replace"} and len(call.args) == 1 and not call.keywords and not of_module


def _public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions without a leading underscore at the top or in a public class; special methods count as public."""
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    while scopes:
        for node in scopes.pop().body:
            special = getattr(node, "name", "").startswith("__")
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                scopes.append(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                special or not node.name.startswith("_")
            ):
                yield node
