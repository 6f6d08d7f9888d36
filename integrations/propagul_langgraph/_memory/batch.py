"""The operations of one call, checked before any of them is done.

What reads sees the state before what writes; of several writes to one key the last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from langgraph.store.base import GetOp, ListNamespacesOp, PutOp, SearchOp, validate_op_namespace

from propagul_langgraph._expiry import check_minutes
from propagul_langgraph._memory import filters
from propagul_langgraph._memory.keys import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langgraph.store.base import Op

    from propagul_langgraph._memory.keys import Name


class Batch:
    """Operations in their order.

    Args:
        ops: They are checked here.

    Attributes:
        ops: All of them.
        puts: What is written: the last operation of each name.
        paths: Where the items stand that are read or written by name.

    Raises:
        InvalidNamespaceError, TypeError, ValueError, LimitExceeded: One is none.
    """

    def __init__(self, ops: Iterable[Op]) -> None:
        self.ops = [_checked(op) for op in ops]
        self.puts: dict[Name, PutOp] = {(op.namespace, op.key): op for op in self.ops if isinstance(op, PutOp)}
        names = {(op.namespace, op.key) for op in self.ops if isinstance(op, (GetOp, PutOp))}
        self.paths = {name: path_of(*name) for name in names}

    @property
    def queries(self) -> list[str]:
        """What is searched for."""
        return [op.query for op in self.ops if isinstance(op, SearchOp) and op.query]

    @property
    def is_long(self) -> bool:
        """Whether something in it takes as long as there are items."""
        return any(isinstance(op, (SearchOp, ListNamespacesOp)) for op in self.ops)


def _checked(op: Op) -> Op:
    """An operation, its namespace a tuple whatever it was given as."""
    match op:
        case GetOp():
            op = op._replace(namespace=_labels(op.namespace))
            _check_key(op.key)
        case PutOp():
            op = op._replace(namespace=_labels(op.namespace))
            _check_put(op)
        case SearchOp():
            op = op._replace(namespace_prefix=_labels(op.namespace_prefix))
            _check_page(op.limit, op.offset)
            filters.check(op.filter or {})
        case ListNamespacesOp():
            _check_page(op.limit, op.offset)
            _check_listing(op)
        case _:
            raise TypeError(f"an operation is GetOp, PutOp, SearchOp or ListNamespacesOp, not {type(op).__name__}")
    validate_op_namespace(op)
    return op


def _labels(namespace: object) -> tuple[str, ...]:
    if not isinstance(namespace, (tuple, list)):
        raise TypeError(f"a namespace is a tuple of labels, not {namespace!r:.80}")
    return tuple(namespace)


def _check_put(op: PutOp) -> None:
    _check_key(op.key)
    if op.value is not None and not isinstance(op.value, Mapping):
        raise TypeError(f"the value of {op.key!r} in {op.namespace!r} is a dict, not {type(op.value).__name__}")
    if op.index is not None and op.index is not False:
        check_fields("index", op.index)
    check_minutes("ttl", op.ttl)


def check_fields(name: str, fields: object) -> None:
    """Say what is wrong with the fields to be embedded.

    Raises:
        TypeError: They are no list of texts.
    """
    if not isinstance(fields, (list, tuple)) or not all(isinstance(field, str) for field in fields):
        raise TypeError(f"{name} is a list of fields such as ['text', 'tags[*]'], not {fields!r:.80}")


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")


def _check_page(limit: int, offset: int) -> None:
    if limit < 0 or offset < 0:
        raise ValueError(f"limit and offset are 0 or more, not {limit} and {offset}")


def _check_listing(op: ListNamespacesOp) -> None:
    if op.max_depth is not None and op.max_depth < 1:
        raise ValueError(f"max_depth is 1 or more, not {op.max_depth}")
    for condition in op.match_conditions or ():
        _labels(condition.path)
        if condition.match_type not in ("prefix", "suffix"):
            raise ValueError(f"a namespace is matched by prefix or suffix, not by {condition.match_type!r}")
