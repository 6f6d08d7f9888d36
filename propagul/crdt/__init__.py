"""Pure values: dots, vectors, rows, the replica and their bytes.

No I/O, no clock, no randomness: time and origins come in as arguments, so that every history can be replayed.
"""

from propagul.crdt.block import Block as Block
from propagul.crdt.cut import Cut as Cut
from propagul.crdt.cut import Join as Join
from propagul.crdt.cut import Position as Position
from propagul.crdt.dot import STAMP_MAX as STAMP_MAX
from propagul.crdt.dot import Dot as Dot
from propagul.crdt.dot import HybridClock as HybridClock
from propagul.crdt.dot import Origin as Origin
from propagul.crdt.dot import Stamp as Stamp
from propagul.crdt.dot import seconds_between as seconds_between
from propagul.crdt.dot import stamp_of_ns as stamp_of_ns
from propagul.crdt.dot import stamps_in as stamps_in
from propagul.crdt.merge import Apart as Apart
from propagul.crdt.merge import Change as Change
from propagul.crdt.merge import Merged as Merged
from propagul.crdt.payload import ABSENT as ABSENT
from propagul.crdt.payload import REMOVE as REMOVE
from propagul.crdt.payload import Action as Action
from propagul.crdt.payload import Evicted as Evicted
from propagul.crdt.payload import Found as Found
from propagul.crdt.payload import Keep as Keep
from propagul.crdt.payload import Packed as Packed
from propagul.crdt.payload import Payload as Payload
from propagul.crdt.pending import Offer as Offer
from propagul.crdt.replica import Batch as Batch
from propagul.crdt.replica import Op as Op
from propagul.crdt.replica import Replica as Replica
from propagul.crdt.row import COUNTER as COUNTER
from propagul.crdt.row import EMPTY as EMPTY
from propagul.crdt.row import GONE as GONE
from propagul.crdt.row import LOG as LOG
from propagul.crdt.row import MAP as MAP
from propagul.crdt.row import REGISTER as REGISTER
from propagul.crdt.row import SET as SET
from propagul.crdt.row import Row as Row
from propagul.crdt.row import Sibling as Sibling
from propagul.crdt.row import join as join
from propagul.crdt.vector import Entry as Entry
from propagul.crdt.vector import Floor as Floor
from propagul.crdt.vector import VersionVector as VersionVector
from propagul.crdt.wire import KEY_BYTES_MAX as KEY_BYTES_MAX
from propagul.crdt.wire import VALUE_BYTES_MAX as VALUE_BYTES_MAX
