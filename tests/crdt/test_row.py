"""One row: what a join takes and keeps, and what trimming leaves. The laws over whole replicas are in test_laws.py."""

from __future__ import annotations

from propagul.crdt import REMOVE, Dot, Floor, Keep, Origin, Row, Sibling, Stamp, VersionVector
from propagul.crdt.row import EMPTY, act, join, plain, trim

A, B, C = Origin(1), Origin(2), Origin(3)
NOTHING = VersionVector()


def sibling(stamp: int, origin: Origin) -> Sibling:
    return Sibling(Dot(Stamp(stamp), origin), 0, f"{stamp} of {origin}")


def row(*siblings: Sibling, **seen: int) -> Row:
    """A row of these siblings that has seen them and more: `a`, `b`, `c` are the origins."""
    context = {s.dot.origin: s.dot.stamp for s in siblings}
    for name, stamp in seen.items():
        context[Origin("abc".index(name) + 1)] = Stamp(stamp)
    return Row(tuple(sorted(siblings, key=lambda s: s.dot, reverse=True)), context)


def knows(**seen: int) -> VersionVector:
    return VersionVector((Origin("abc".index(name) + 1), Stamp(stamp)) for name, stamp in seen.items())


def test_concurrent_siblings_are_kept_highest_first() -> None:
    one, two = row(sibling(5, A)), row(sibling(7, B))
    assert join(one, two, knows(a=5)).siblings == join(two, one, knows(b=7)).siblings == (sibling(7, B), sibling(5, A))


def test_a_sibling_goes_iff_the_other_side_has_seen_and_does_not_hold_it() -> None:
    ours = row(sibling(5, A), sibling(4, B))
    assert join(ours, row(sibling(9, C), a=5), knows(a=5, b=4)).siblings == (sibling(9, C), sibling(4, B))
    assert join(ours, row(sibling(9, C), a=4), knows(a=5, b=4)).siblings == (
        *row(sibling(9, C)).siblings,
        *ours.siblings,
    )
    assert join(ours, row(sibling(5, A), c=1), knows(a=5, b=4)).siblings == ours.siblings


def test_a_sibling_that_the_vector_covers_and_the_row_lacks_was_superseded_here() -> None:
    assert join(EMPTY, row(sibling(5, A)), knows(a=5)) is EMPTY
    assert join(EMPTY, row(sibling(5, A)), knows(a=4)).siblings == (sibling(5, A),)


def test_a_sibling_that_the_row_has_seen_is_not_taken_though_the_vector_does_not_cover_it() -> None:
    ours = row(sibling(6, B), a=5)
    assert join(ours, row(sibling(5, A)), knows(b=6)) is ours


def test_in_a_snapshot_join_the_senders_vector_speaks_for_rows_it_does_not_hold() -> None:
    ours = row(sibling(5, A), sibling(4, B))
    assert join(ours, EMPTY, knows(a=5, b=4)) is ours
    joined = join(ours, EMPTY, knows(a=5, b=4), knows(a=5))
    assert joined.siblings == (sibling(4, B),)
    assert joined.context == {A: 5, B: 4}


def test_what_adds_nothing_gives_back_the_very_row() -> None:
    ours = row(sibling(5, A), b=3)
    for theirs in (EMPTY, ours, row(sibling(5, A)), row(b=2), row(sibling(2, B))):
        assert join(ours, theirs, knows(a=5, b=3)) is ours


def test_a_removal_of_a_row_never_held_is_a_row() -> None:
    assert join(EMPTY, row(a=5), NOTHING) == row(a=5)
    assert join(row(a=3), row(a=5, b=1), knows(a=3)) == row(a=5, b=1)


def test_a_write_supersedes_what_it_saw_and_remembers_that_it_did() -> None:
    seen = row(sibling(5, A), sibling(4, B), c=2)
    dot = Dot(Stamp(1), C)
    assert act(seen, dot, 7, "new") == Row((Sibling(dot, 7, "new"),), {A: Stamp(5), B: Stamp(4), C: Stamp(1)})
    assert act(seen, dot, 0, REMOVE) == Row((), {A: Stamp(5), B: Stamp(4), C: Stamp(1)})
    assert act(seen, dot, 0, Keep(1)) == Row((sibling(5, A),), {A: Stamp(5), B: Stamp(4), C: Stamp(1)})
    assert act(seen, dot, 0, Keep(9)).siblings == seen.siblings


def test_trimming_takes_what_the_floor_says_and_nothing_above_it() -> None:
    floor = Floor([(A, Stamp(5)), (B, Stamp(4))])
    assert trim(row(a=5, b=4), floor) == Row((), {})
    assert trim(row(a=5, b=6), floor) == row(b=6)
    assert trim(row(sibling(3, C), a=5, b=6), floor) == row(sibling(3, C), b=6)
    assert trim(row(sibling(5, A), b=2), floor) == row(sibling(5, A))
    assert trim(row(sibling(3, A), a=5), floor) == row(sibling(3, A))
    for untouched in (row(sibling(5, A)), row(sibling(9, C), sibling(5, A)), row(c=1), plain(Dot(Stamp(2), B), 0, "v")):
        assert trim(untouched, floor) is untouched


def test_a_row_is_plain_iff_it_has_one_sibling_and_has_seen_nothing_else() -> None:
    assert row(sibling(5, A)).is_plain
    for other in (EMPTY, row(a=5), row(sibling(5, A), b=1), row(sibling(5, A), a=6), row(sibling(5, A), sibling(4, B))):
        assert not other.is_plain
