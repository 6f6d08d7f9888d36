"""Payloads, rows, blocks and batches of every kind, as hypothesis strategies, and their exact comparison."""

from __future__ import annotations

from datetime import UTC, datetime

import msgpack
from hypothesis import strategies as st

from propagul.crdt import REMOVE, Batch, Block, Dot, Keep, Op, Origin, Packed, Row, Sibling, Stamp
from propagul.crdt.dot import ORIGIN_MAX, STAMP_MAX

origins = (st.integers(1, 4) | st.integers(1, ORIGIN_MAX)).map(Origin)
stamps = (st.integers(1, 9) | st.integers(1, STAMP_MAX)).map(Stamp)
dots = st.builds(Dot, stamps, origins)
kinds = st.integers(0, 5) | st.integers(0, 2**16 - 1)
keys = st.text(min_size=1, max_size=20) | st.just("k" * 4096) | st.just("\N{SNOWMAN}" * 1365)
entries = st.lists(st.tuples(origins, stamps), max_size=8, unique_by=lambda entry: entry[0])

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
containers = st.recursive(
    scalars,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=5,
)
packed = (
    containers.filter(lambda item: isinstance(item, (list, dict)))
    | st.datetimes(min_value=datetime(1970, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - the strategy wants naive bounds
).map(lambda item: Packed(msgpack.packb(item, datetime=True)))
payloads = scalars | packed
actions = payloads | st.just(REMOVE) | st.integers(0, 2**16 - 1).map(Keep)
batches = st.builds(Batch, dots, st.lists(st.builds(Op, keys, kinds, actions), max_size=5))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Any row but a plain one: siblings of several origins, each origin once, a context that covers them and more."""
    held = draw(st.lists(dots, max_size=4, unique_by=lambda dot: dot.origin))
    siblings = [Sibling(dot, draw(kinds), draw(payloads)) for dot in sorted(held, reverse=True)]
    context = {dot.origin: dot.stamp for dot in held}
    for origin, stamp in draw(entries if len(held) > 1 else entries.filter(bool)):
        context[origin] = max(context.get(origin, Stamp(0)), stamp)
    if len(held) == len(context) == 1:
        context[Origin(held[0].origin % ORIGIN_MAX + 1)] = Stamp(1)
    return Row(tuple(siblings), context)


plain_rows = st.lists(st.tuples(keys, payloads, kinds, stamps, origins), max_size=8, unique_by=lambda row: row[0])
blocks = st.builds(Block, plain_rows, st.lists(st.tuples(keys, rows()), max_size=3, unique_by=lambda item: item[0]))


def exactly(item: object) -> str:
    """A form in which only what is the same compares equal: 1 is not True, 0.0 is not -0.0, NaN is NaN."""
    if isinstance(item, Packed):
        return f"packed {bytes(item)!r}"
    if isinstance(item, dict):
        return exactly(sorted(item.items()))
    if isinstance(item, Row):
        return exactly([*item.siblings, item.context])
    if isinstance(item, (list, tuple)):
        return f"({', '.join(map(exactly, item))})"
    return repr(item)
