"""Bugs planted by somebody who did not write the code, and who chose them before reading those in `mutants`.

The simulator was blind to eight of them. Nothing had payloads left in the log while a stream waits to be joined (three
bugs); a row was always asked for before its winner, and joined by that (one); nobody listed rows, or looked under a
prefix, while some waited (two); hardly any two siblings had one stamp (two). It does all of that now.

Not here, because no history tells them from the library as it is:

- A `Frozen` that shares the hot entries instead of copying them. The floor then rises to what is known at the commit.
  Any floor that the vector covers is correct: rows trimmed are still those that arrived before the freeze.
- A delta by vector that reads from the peer's place, and not from the beginning. Whoever has a place was told all that
  arrived before it, except what went whole since; that lies below the floor, which such a peer's vector covers.
- `skip` without beginning another chunk. Every entry before it is then a number too high, and passed over as stale or
  listed; all of them lie below the cursor floor, and nobody reads from there by place.
- A commit that does not wait for rows that wait. They arrive above the freeze.
- Staged blocks that are kept after the end of their stream: no other stream has its number.

Not seen by this simulator: `crowded` (nobody has 64 siblings here), `foreign`, `forget`, and how much is kept in
memory. Tests of the store look at these.
"""

from __future__ import annotations

from tests.planted import Mutant

STRANGERS = [
    # --- streams that are joined at leisure
    Mutant("at leisure, a row of several siblings keeps the numbers of its stream", "crdt/pending.py",
           "self._merge.join(key, self._placed_in(offered))",
           "self._merge.join(key, offered)", 1),
    Mutant("at leisure, a winner alone is told where it stands", "crdt/pending.py",
           "s._replace(payload=self._placed(s.payload)) for s",
           "s._replace(payload=self._placed(s.payload)) if s is row.winner else s for s", 11),
    Mutant("at leisure, a key that was joined is one that the join does not name", "crdt/pending.py",
           "elif self._whole and key not in self._rows:",
           "elif self._whole:", 0),
    Mutant("the winner is read without the row that waits", "crdt/replica.py",
           "self._touch(key)\n        return self.table.get(key)",
           "return self.table.get(key)", 0),
    Mutant("rows are listed without those that wait", "crdt/replica.py",
           "self.settle()\n        return iter(self.table)",
           "return iter(self.table)", 501),
    Mutant("rows under a prefix are found without those that wait", "crdt/replica.py",
           "self.settle()\n        return self.table.under(prefix)",
           "return self.table.under(prefix)", 145),
    Mutant("a snapshot begins without the rows that wait", "crdt/replica.py",
           "self.settle()\n        return self.table.capture(0)",
           "return self.table.capture(0)", 234),
    Mutant("a freeze does not wait for rows that wait, as its fold does", "crdt/replica.py",
           "self.settle()\n        self._frozen = self.arrival",
           "self._frozen = self.arrival", 686),
    # --- evicted payloads
    Mutant("a block that moved forgets which payload", "log/cold.py",
           "return self.at(places[payload >> _ORDINAL_BITS], payload & _ORDINAL_MAX)",
           "return self.at(places[payload >> _ORDINAL_BITS], 0)", 0),
    Mutant("ordinals count rows where siblings count", "log/cold.py",
           "first += len(block.plain) + sum(len(row.siblings) for _, row in block.other)",
           "first += len(block)", 29),
    Mutant("ordinals of a batch count what is large", "log/cold.py",
           "ordinal)) if is_large(op.action) else op\n            for ordinal, op in enumerate(batch.ops)",
           "next(large))) if is_large(op.action) else op\n            for large in [count()] for op in batch.ops", 0),
    Mutant("of a stream's end the last block alone is walked", "log/cold.py",
           "body[-1:] if kind in (BLOCK, ROWS) else body[4:] if kind == END else []",
           "body[-1:] if kind in (BLOCK, END, ROWS) else []", 2),
    Mutant("rows are filled where their winner is evicted", "log/cold.py",
           "_, row in other for sibling in row.siblings):",
           "_, row in other for sibling in row.siblings[:1]):", 1),
    Mutant("a winner alone is evicted, or given a new place", "crdt/table.py",
           "held = any(sibling.dot == dot for sibling in row.siblings)",
           "held = row.siblings[:1] != () and row.siblings[0].dot == dot", 1576),
    Mutant("whoever has the stamp is evicted", "crdt/table.py",
           "if s.dot == dot else s for s in row.siblings",
           "if s.dot.stamp == dot.stamp else s for s in row.siblings", 2039),
    # --- rows, vectors, cuts and captures
    Mutant("siblings of one stamp are ranked as they came", "crdt/row.py",
           "key=_BY_DOT, reverse=True",
           "key=lambda s: s.dot.stamp, reverse=True", 33),
    Mutant("a join leaves out what its receiver is believed to have", "crdt/replica.py",
           "return self._cut(after, told, join, Lacks(None if join else known))",
           "return self._cut(after, told, join, Lacks(known))", 2),
    Mutant("a join passes over a plain row that is known here", "crdt/merge.py",
           "if self._here.stamp_of(origin) >= stamp and self._there is None:",
           "if self._here.stamp_of(origin) >= stamp:", 53),
    Mutant("a push asks of rows what they hold, not what they have seen", "crdt/replica.py",
           "return not all(known.covers_entry(o, s) for o, s in row.context.items() if o != self.origin)",
           "return not all(known.covers(dot) for dot in row.dots if dot.origin != self.origin)", 29),
    Mutant("an origin that goes on has a clock that has seen nothing", "crdt/replica.py",
           "HybridClock(last), last",
           "HybridClock(), last", 883),
    Mutant("a push leaves out removals", "crdt/cut.py",
           "if item[1].context.get(own, 0) > seen]",
           "if any(dot.origin == own and dot.stamp > seen for dot in item[1].dots)]", 0),
    Mutant("an entry that rises keeps its place in the order of change", "crdt/vector.py",
           "        self._marks.pop(origin, None)\n",
           "", 3),
    Mutant("a copy of a vector shares its hot entries", "crdt/vector.py",
           "twin._hot, twin._marks = dict(self._hot), dict(self._marks)",
           "twin._hot, twin._marks = self._hot, self._marks", 0),
    Mutant("of two former rows of a slot the later one is read", "crdt/capture.py",
           "self._former.setdefault(slot, before)",
           "self._former[slot] = before", 82),
    Mutant("the next row that is read leaves nothing", "crdt/capture.py",
           "self._next <= slot <",
           "self._next < slot <", 12),
    Mutant("what has become special hides what it was", "crdt/capture.py",
           "changed = [slot for slot in slots if slot in former]",
           "changed = [slot for slot in slots if slot in former and slot not in self._table._special]", 12),
]  # fmt: skip
