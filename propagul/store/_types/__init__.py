"""Counters, sets, logs and nested maps: what several replicas change at once without losing anything.

Each stands on rows of the namespace (see `_rows.Rows`) and holds no state of its own; one file a type.
"""

from propagul.store._types._counter import Cell as Cell
from propagul.store._types._counter import Counter as Counter
from propagul.store._types._counter import read_cell as read_cell
from propagul.store._types._leaves import Conflict as Conflict
from propagul.store._types._log import Entry as Entry
from propagul.store._types._log import OrderedLog as OrderedLog
from propagul.store._types._map import NestedMap as NestedMap
from propagul.store._types._rows import Rows as Rows
from propagul.store._types._set import AddWinsSet as AddWinsSet
