"""`AgentStateStore` and what its methods take and return."""

from propagul.crdt import REMOVE as REMOVE
from propagul.store._clock import Clock as Clock
from propagul.store._clock import SystemClock as SystemClock
from propagul.store._connect import Connection as Connection
from propagul.store._connect import StoreOptions as StoreOptions
from propagul.store._connect import connect as connect
from propagul.store._history import History as History
from propagul.store._history import PastState as PastState
from propagul.store._history import Version as Version
from propagul.store._presence import Heard as Heard
from propagul.store._presence import Oversized as Oversized
from propagul.store._presence import Presence as Presence
from propagul.store._report import Member as Member
from propagul.store._report import PeerSync as PeerSync
from propagul.store._report import SyncReport as SyncReport
from propagul.store._retention import Retention as Retention
from propagul.store._ring import Rotation as Rotation
from propagul.store._stats import StoreStats as StoreStats
from propagul.store._store import AgentStateStore as AgentStateStore
from propagul.store._values import Limits as Limits
from propagul.store._watch import Change as Change
