"""Each rule of `tidy.py` catches a bad sample and lets a good one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workshop import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[tidy.Source], Iterator[tidy.Finding]]


def long_function(lines: int) -> str:
    return "def f():\n" + "    x = 1\n" * (lines - 1)


LATER = "TO" + "DO"
HOME = "/ro" + "ot/"
HOST = "pypi" + ".org"

CAUGHT: list[tuple[Rule, str]] = [
    (tidy.long_files, "x = 1\n" * 401),
    (tidy.long_functions, long_function(71)),
    (tidy.long_functions, "class A:\n    async " + long_function(71).replace("    x", "        x")),
    (tidy.leftovers, f"x = 1  # {LATER}: finish\n"),
    (tidy.forbidden_words, f'PATH = "{HOME}x"\n'),
    (tidy.forbidden_words, f"# see {HOST}\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept Exception:\n    pass\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept:\n    pass\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept (OSError, BaseException) as e:\n    pass\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept Exception:  # supervisor:\n    pass\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept Exception as e:\n    raise OSError from e\n"),
    (tidy.wide_excepts, "with contextlib.suppress(Exception):\n    f()\n"),
    (tidy.system_calls, "import fcntl\n"),
    (tidy.system_calls, "def f():\n    from subprocess import run\n"),
    (tidy.system_calls, "import os\nos.fsync(1)\n"),
    (tidy.system_calls, "import os as _os\nf = _os.replace\n"),
    (tidy.system_calls, "from os import kill as end\nend(1, 9)\n"),
    (tidy.system_calls, "import signal\nsignal.signal(2, f)\n"),
    (tidy.system_calls, "loop.add_signal_handler(2, f)\n"),
    (tidy.system_calls, "Path('a').chmod(0o600)\n"),
    (tidy.system_calls, "path.replace(other)\n"),
    (tidy.system_calls, "self.path.rename('b')\n"),
    (tidy.missing_docstrings, "x = 1\n"),
    (tidy.public_any, "def f(x: Any) -> None: ...\n"),
    (tidy.public_any, "def f(*, x: int = 1) -> dict[str, typing.Any]: ...\n"),
    (tidy.public_any, "class A:\n    def __call__(self, *x: list[Any]) -> None: ...\n"),
]

PASSES: list[tuple[Rule, str]] = [
    (tidy.long_files, "x = 1\n" * 400),
    (tidy.long_functions, long_function(70)),
    (tidy.leftovers, "today = 'todos'\n"),
    (tidy.forbidden_words, "url = f'{home}/work/of/mine'; name = 'net/work/x'\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept OSError:\n    pass\n"),
    (
        tidy.wide_excepts,
        "try:\n    f()\nexcept Exception:  # supervisor: one sampler must not end the others\n    pass\n",
    ),
    (
        tidy.wide_excepts,
        "try:\n    f()\nexcept Exception:  # noqa: BLE001 - supervisor: says where and ends\n    pass\n",
    ),
    (tidy.wide_excepts, "try:\n    f()\n# supervisor: one look must not end the watch\nexcept Exception:\n    pass\n"),
    (tidy.wide_excepts, "try:\n    f()\nexcept BaseException:\n    close()\n    raise\n"),
    (tidy.system_calls, "import os\nos.path.join('a')\n'a'.replace('b', 'c')\nat.replace(hour=1)\n"),
    (tidy.system_calls, "import dataclasses\ndataclasses.replace(row)\n"),
    (tidy.missing_docstrings, '"""What lives here."""\n'),
    (tidy.missing_docstrings, ""),
    (tidy.public_any, "def _f(x: Any) -> None: ...\nclass _A:\n    def f(self, x: Any) -> None: ...\n"),
    (tidy.public_any, "def f(x: AnyStr) -> None: ...\n"),
]


@pytest.mark.parametrize(("rule", "text"), CAUGHT)
def test_a_bad_sample_is_caught(rule: Rule, text: str) -> None:
    assert list(rule(tidy.Source("propagul/sample.py", text)))


@pytest.mark.parametrize(("rule", "text"), PASSES)
def test_a_good_sample_passes(rule: Rule, text: str) -> None:
    assert not list(rule(tidy.Source("propagul/sample.py", text)))


def test_system_calls_are_free_in_their_one_module_and_outside_the_packages() -> None:
    for path in (*tidy.SYSTEM_MODULES, "tests/sample.py"):
        assert not list(tidy.system_calls(tidy.Source(path, "import os\nos.fsync(1)\n")))


def test_an_allowed_call_passes_in_its_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy, "SYSTEM_CALLS_ALLOWED", frozenset({("propagul/a.py", "os.fsync")}))
    text = "import os\nos.fsync(1)\n"
    assert not list(tidy.system_calls(tidy.Source("propagul/a.py", text)))
    assert list(tidy.system_calls(tidy.Source("propagul/b.py", text)))


def test_words_are_checked_everywhere() -> None:
    assert list(tidy.forbidden_words(tidy.Source("docs/a.md", f"cd {HOME}x")))
    assert list(tidy.leftovers(tidy.Source("docs/a.md", LATER)))


def test_a_large_binary_is_caught_and_a_long_text_is_not() -> None:
    size = tidy.BINARY_BYTES_MAX + 1
    assert list(tidy.large_binary("a", b"\0" * size))
    assert not list(tidy.large_binary("a", b"\0" * (size - 1)))
    assert not list(tidy.large_binary("a", b"a" * size))


def test_a_file_others_may_write_is_caught_unless_the_umask_makes_it_so() -> None:
    assert list(tidy.loose_mode("a", 0o100664, 0o022))
    assert list(tidy.loose_mode("a", 0o100666, 0o002))
    assert not list(tidy.loose_mode("a", 0o100664, 0o002))
    assert not list(tidy.loose_mode("a", 0o100644, 0o022))


def test_files_are_found_without_git_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with_git = tidy.repository_files.__wrapped__()
    monkeypatch.setenv("PATH", "")
    without = set(tidy.repository_files.__wrapped__())
    assert "propagul/errors.py" in without
    assert not [name for name in without if name.startswith((".venv/", ".git/"))]
    assert set(with_git) >= {name for name in without if name.endswith(".py")}
