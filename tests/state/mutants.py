"""Planted bugs: text patches to the library, each with the first seed that kills it.

The seed kills the mutant today; where a change to the simulator moves its random choices, the schedules behind it still
have a chance. A mutant that survives means that the simulator has gone blind to a bug it once saw; a patch that no
longer applies must be written anew.

Not here, because no history tells them from the library as it is:

- A commit that trims contexts above the floor, or drops records above it. A row that has not changed since the freeze
  says nothing that the vector did not cover then, because streams and pushes convey nothing that their receiver's
  vector will not cover. (What a freeze itself would trim or drop is here.)
- A row that waits, joined once more when it was joined before: joining is idempotent.
- `since` without its look at what was folded. A peer whose place is above the cursor floor was told what was folded,
  and any other is told by its own vector or by a join.

Not here, because they are decided where processes are opened and linked, which the simulator models itself: a place
kept after a lost tail, an origin used again after a restore, a baton read but not taken or not compared.
"""

from __future__ import annotations

from tests.planted import Mutant

MUTANTS = [
    # --- rows
    Mutant("siblings are ranked by arrival", "crdt/row.py",
           "sorted(kept + taken, key=_BY_DOT, reverse=True)", "taken + kept", 0),
    Mutant("quarantine is a rank", "crdt/row.py",
           "key=_BY_DOT, reverse=True",
           "key=lambda sibling: (sibling.dot.stamp < 1_200_000_000_000_000, sibling.dot), reverse=True", 0),
    Mutant("a trim keeps the lowest", "crdt/row.py",
           "seen.siblings[: int(action)]", "seen.siblings[-int(action) :]", 11),
    Mutant("a delete mints no dot", "crdt/row.py",
           "return Row((), context)", "return Row((), dict(seen.context))", 0),
    Mutant("contexts are not joined", "crdt/row.py",
           "return Row(tuple(kept), {**known, **newer})",
           "return Row(tuple(kept), {**known, **_implied(tuple(kept))})", 1),
    Mutant("a sibling that was superseded here is taken back", "crdt/row.py",
           "if known.get(s.dot[1], 0) < s.dot[0] and not here.covers(s.dot)]", "if s not in siblings]", 1),
    Mutant("incoming rows are not refused by our vector", "crdt/row.py",
           "and not here.covers(s.dot)]", "]", 6),
    Mutant("the sender's vector is ignored in a join", "crdt/row.py",
           " and (there is None or not there.covers(s.dot))", "", 0),
    Mutant("a sibling that both sides hold is gone", "crdt/row.py",
           " or s.dot in dots\n", "\n", 0),
    Mutant("a sibling that theirs superseded stays", "crdt/row.py",
           "if (said.get(s.dot[1], 0) < s.dot[0] and (", "if (True and (", 0),
    # --- local writes
    Mutant("a write over another's row forgets that it saw it", "crdt/replica.py",
           "isinstance(action, (Keep, Remove)) or known is None or known[1] not in (0, origin):",
           "isinstance(action, (Keep, Remove)) or known is None:", 3),
    Mutant("the short way writes over another's row", "crdt/hot.py",
           "(slot in special or origins[slot] != origin)", "slot in special", 90),
    Mutant("the short way leaves nothing to those who are reading", "crdt/hot.py",
           "            elif captures:\n                leave(slot)\n", "", 591),
    Mutant("a renewed origin forgets the last write of the old one", "crdt/replica.py",
           "        self._vector.advance(self.origin, self.minted)\n        self.origin, self.clock",
           "        self.origin, self.clock", 3),
    # --- streams
    Mutant("the removal of a row never held is dropped", "crdt/merge.py",
           "if after is not before:", "if after is not before and (before.context or after.siblings):", 11),
    Mutant("the vector advances block by block", "crdt/replica.py",
           "            stream.take(block)\n",
           "            stream.take(block)\n"
           "            if join is None:\n                self.vector.join(entries)\n", 0),
    Mutant("who knows our floor is taken to have every row", "crdt/replica.py",
           "> Cut.few and known.covers_all(self.vector):", "> Cut.few and known.covers_all(self.vector.floor):", 0),
    Mutant("what was found past rows that the peer has is lost", "crdt/cut.py",
           "        if found:\n            self._ahead = found\n", "", 0),
    # --- streams that are joined at leisure
    Mutant("a read passes over a row that waits", "crdt/replica.py",
           "        self._touch(key)\n        return self.table.row(key)\n", "        return self.table.row(key)\n", 0),
    Mutant("a write does not see a row that waits", "crdt/replica.py",
           "            self._touch(key)\n            before", "            before", 3),
    Mutant("waiting rows are joined by the vector of today", "crdt/replica.py",
           "here, there, before = self.vector.copy(),", "here, there, before = self.vector,", 0),
    Mutant("a join at leisure removes nothing", "crdt/pending.py",
           "elif self._whole and key not in self._rows:", "elif False:", 0),
    Mutant("the short way is open while rows wait", "crdt/replica.py",
           "whole=join is not None)\n        self.watched = True\n", "whole=join is not None)\n", 290),
    Mutant("a cut does not wait for rows that wait", "crdt/replica.py",
           'see `_goes_on`.\n        """\n        self.settle()\n', 'see `_goes_on`.\n        """\n', 1),
    Mutant("another stream does not wait for rows that wait", "crdt/replica.py",
           "        self.settle()\n        here, there", "        here, there", 0),
    Mutant("the end of a stream is forgotten in its slices", "crdt/pending.py",
           "return taken == most", "return False", 40),
    # --- payloads that stand in the log alone
    Mutant("an evicted payload is the neighbour's", "log/cold.py",
           "for ordinal, op in enumerate(batch.ops)", "for ordinal, op in enumerate(batch.ops, -1)", 0),
    Mutant("ordinals begin anew in each block", "log/cold.py",
           "            first += len(block.plain) +", "            first = len(block.plain) +", 77),
    Mutant("a newer payload is evicted with an older one's place", "crdt/table.py",
           "held = slot >= 0 and (self._stamps[slot], self._origins[slot]) == dot",
           "held = slot >= 0 and self._origins[slot] == dot.origin", 27),
    Mutant("the winner's column keeps what another sibling's place is", "crdt/table.py",
           "self.values[slot] = siblings[0].payload\n", "self.values[slot] = payload\n", 69),
    Mutant("a plain row is taken though our vector covers it", "crdt/merge.py",
           "if self._here.stamp_of(origin) >= stamp and self._there is None:", "if False:", 102),
    Mutant("unwatched, a plain row is taken though our vector covers it", "crdt/bulk.py",
           "        if stamp <= floor:\n            continue\n", "", 794),
    Mutant("unwatched, a plain row replaces another's plain row", "crdt/bulk.py",
           "if known is None or known[1] not in (0, origin):", "if known is None:", 1),
    Mutant("a plain row replaces another's plain row", "crdt/merge.py",
           "if known is None or known[1] not in (0, origin) or self._there is not None:",
           "if known is None or self._there is not None:", 1),
    Mutant("a join removes nothing that its sender lacks altogether", "crdt/replica.py",
           "            stream.remove_what_the_sender_removed()\n", "            pass\n", 61),
    Mutant("a join does not raise the floor", "crdt/replica.py",
           "            self.vector.raise_floor(join.floor)\n", "", 53),
    Mutant("a join does not raise the cursor floor", "crdt/replica.py",
           "changes no row, and no record tells of it\n            self.cursor_floor = self.table.arrival\n",
           "changes no row, and no record tells of it\n", 53),
    Mutant("a join that changes no row leaves places as they are", "crdt/replica.py",
           "            self.table.skip()  # what was removed", "            # what was removed", 74),
    Mutant("a peer below the floor is served by its vector, whatever that is", "crdt/replica.py",
           "if not known.covers_all(self.vector.floor):", "if False:", 0),
    Mutant("a delta leaves out rows whose siblings are known, whatever else they say", "crdt/bulk.py",
           "if not item[1].covered_by(known)]", "if not all(known.covers(s.dot) for s in item[1].siblings)]", 0),
    Mutant("a delta leaves out one of two rows with the same dot", "crdt/bulk.py",
           "[plain for plain in plains if stamp_of(plain[4]) < plain[3]],",
           "[*{plain[3:]: plain for plain in plains if stamp_of(plain[4]) < plain[3]}.values()],", 0),
    # --- pushes
    Mutant("a push claims its sender's whole vector", "crdt/replica.py",
           "cut.entries = [(self.origin, stamp)]", "cut.entries = self.vector.since(0)", 98),
    Mutant("a push claims the newest stamp and sends the newest row only", "crdt/cut.py",
           "[p for p in block.plain if p[4] == own and p[3] > seen],",
           "[p for p in block.plain if p[4] == own and p[3] > seen][-1:],", 1),
    Mutant("a push goes to a peer whose place lies below the floor", "crdt/replica.py",
           "        if after < self.cursor_floor:\n            return None\n", "", 9),
    Mutant("a push tells of halves of others' transactions", "crdt/replica.py",
           "if any(self._tells_of_others(", "if False and any(self._tells_of_others(", 29),
    # --- the floor
    Mutant("removal records are dropped without a floor", "crdt/replica.py",
           "        self._frozen = self.arrival, self.vector.freeze()\n",
           "        self._frozen = self.arrival, self.vector.freeze()\n"
           "        for key in self.table.special_keys():\n"
           "            if not self.table.row(key).siblings:\n"
           "                self.table.drop(key)\n", 41),
    Mutant("contexts are trimmed without a floor", "crdt/replica.py",
           "        self._frozen = self.arrival, self.vector.freeze()\n",
           "        self._frozen = self.arrival, self.vector.freeze()\n"
           "        for key in self.table.special_keys():\n"
           "            row = self.table.row(key)\n"
           "            if row.siblings and not row.has_seen_no_more_than_it_holds:\n"
           "                self.table.replace(key, rows.Row(row.siblings, rows._implied(row.siblings)))\n", 31),
    Mutant("a commit does not raise the cursor floor", "crdt/replica.py",
           "            self.cursor_floor = max(self.cursor_floor, arrival)\n", "", 0),
    Mutant("rows newer than the freeze are trimmed", "crdt/replica.py",
           "if self.table.arrived(key) <= self._trim_until:", "if True:", 357),
    Mutant("a commit takes only entries unchanged since the freeze", "crdt/vector.py",
           "self._floor.joined(frozen.entries.items())",
           "self._floor.joined((o, s) for o, s in frozen.entries.items() if self._hot[o] == s)", 583),
    Mutant("origins without live rows are forgotten", "crdt/replica.py",
           "            self.vector.fold(frozen)\n",
           "            self.vector.fold(frozen)\n"
           "            live = {s.dot.origin for _, row in self.table for s in row.siblings}\n"
           "            self.vector._floor = Floor(e for e in self.vector.floor if e[0] in live)\n", 0),
    # --- the table
    Mutant("a capture does not keep former rows", "crdt/capture.py",
           "            self._former.setdefault(slot, before)\n", "            pass\n", 12),
    Mutant("a freed slot is used again under a capture", "crdt/table.py",
           "            if self._captures:\n                self._leave(slot)\n            self._keys[slot] = key\n",
           "            self._keys[slot] = key\n", 82),
    Mutant("a trimmed row is not kept for a capture", "crdt/table.py",
           "        slot = self.slots[key]\n"
           "        if self._captures:\n            self._leave(slot)\n        if row.is_plain:",
           "        slot = self.slots[key]\n        if row.is_plain:", 2818),
    Mutant("the journal's sweep drops a live entry", "crdt/arrivals.py",
           "slots, when = self._live(entries, arrived)",
           "slots, when = (column[1:] for column in self._live(entries, arrived))", 2903),
    Mutant("a dropped row is of no arrival when a capture asks", "crdt/table.py",
           "        if self._captures:\n            self._leave(slot)\n        self._special.pop(slot, None)\n"
           '        self.values[slot], self._keys[slot] = ABSENT, ""\n        self._arrivals[slot] = 0\n',
           "        self._arrivals[slot] = 0\n        if self._captures:\n            self._leave(slot)\n"
           '        self._special.pop(slot, None)\n        self.values[slot], self._keys[slot] = ABSENT, ""\n', 76),
    Mutant("a change that settling made is not told", "crdt/replica.py",
           "        changes = self._settled[:]\n", "        changes = self._settled[1:]\n", 0),
    # --- bytes
    Mutant("hidden siblings are not sent", "crdt/codec.py",
           "rows = [row for _, row in block.other]",
           "rows = [Row(row.siblings[:1], row.context) for _, row in block.other]", 0),
    Mutant("a context is not encoded", "crdt/codec.py",
           "if entry not in implied]", "if not implied]", 3),
    Mutant("the last operation of a batch is lost", "crdt/codec.py",
           "    for op in batch.ops:\n", "    for op in batch.ops[:-1] or batch.ops:\n", 0),
    Mutant("stamps wrap", "crdt/codec.py",
           "list(map(sub, stamps[1:], stamps))", "[(b - a) % 2**50 for a, b in pairwise(stamps)]", 0),
    # --- the fold
    Mutant("staged blocks apply without their end", "log/fold.py",
           "[]).append(place)\n",
           "[]).append(place)\n            replica.merge(self._decoded(place, [body[1]]), [], Stamp(1))\n", 3),
    Mutant("a stream ends without its staged blocks", "log/fold.py",
           "staged = self._staged.pop((space, _number(stream)), [])", "staged: list[int] = []", 1),
    Mutant("the fold's short way writes over another's row", "crdt/hot.py",
           "elif slot in special or origins[slot] != origin:", "elif slot in special:", 72),
    Mutant("the fold's short way does not enter what it read", "crdt/hot.py",
           "        replica.note(dot)\n        return dot\n", "        return dot\n", 16),
    Mutant("a freeze is not folded", "log/fold.py",
           "            replica.freeze()\n", "            pass\n", 34),
    Mutant("a commit is not folded", "log/fold.py",
           "            replica.commit()\n            replica.trim()\n", "            pass\n", 61),
    Mutant("a snapshot's rows come back without their contexts", "crdt/replica.py",
           "            self.table.put(key, row)\n\n    def forget",
           "            self.table.put(key, rows.Row(row.siblings, rows._implied(row.siblings)))\n\n    def forget",
           7),
    Mutant("a snapshot holds the floor and not what lies above", "log/fold.py",
           "codec.flatten(vector.hot)", "[]", 5),
    Mutant("a replica from a snapshot serves newcomers by place", "crdt/replica.py",
           "        self.table.skip()\n        self.cursor_floor = self.table.arrival\n", "", 590),
    Mutant("a snapshot forgets who minted", "log/fold.py",
           "            self.own[space].update(_entries(body[2]))\n", "", 5),
]  # fmt: skip
