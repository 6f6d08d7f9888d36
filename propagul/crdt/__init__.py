"""Pure values: dots, vectors, rows, the replica and their bytes.

No I/O, no clock, no randomness: time and origins come in as arguments, so that every history can be replayed.
"""

from propagul.crdt.codec import KEY_BYTES_MAX as KEY_BYTES_MAX
from propagul.crdt.codec import VALUE_BYTES_MAX as VALUE_BYTES_MAX
from propagul.crdt.dot import Dot as Dot
from propagul.crdt.dot import HybridClock as HybridClock
from propagul.crdt.dot import Origin as Origin
from propagul.crdt.dot import Stamp as Stamp
from propagul.crdt.dot import seconds_between as seconds_between
from propagul.crdt.dot import stamp_of_ns as stamp_of_ns
from propagul.crdt.replica import Change as Change
from propagul.crdt.replica import Cut as Cut
from propagul.crdt.replica import Replica as Replica
from propagul.crdt.replica import Write as Write
from propagul.crdt.row import EMPTY as EMPTY
from propagul.crdt.row import REGISTER as REGISTER
from propagul.crdt.row import Row as Row
from propagul.crdt.row import Sibling as Sibling
from propagul.crdt.row import join as join
from propagul.crdt.vector import Entry as Entry
from propagul.crdt.vector import VersionVector as VersionVector
