"""YAML that people wrote, as nodes with their lines: composed, never constructed, so no tag in it makes an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from fleet_app.errors import ConfigError

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node


def composed(content: bytes, name: str) -> Node | None:
    """The root; None for an empty file.

    Raises:
        ConfigError: It is no YAML; one line that begins with the file's name, and quotes nothing of what stands there.
    """
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not text in UTF-8") from None
    except MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: this is not YAML; check colons and indents") from None
    except (YAMLError, RecursionError):
        raise ConfigError(f"{name}: this is not YAML") from None
    return node
