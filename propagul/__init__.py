"""Replicated state for agents: write locally, survive crashes, converge with the others.

    from propagul import AgentStateStore

A store holds a full replica of its room, logs every event before it shows it, and exchanges what is missing with the
other members over mutually authenticated links. The fleet manager in the same distribution is a user of this package;
nothing here knows of it.
"""

import logging
from importlib.metadata import PackageNotFoundError, version

from propagul.errors import ClosedError as ClosedError
from propagul.errors import IdentityError as IdentityError
from propagul.errors import LimitExceeded as LimitExceeded
from propagul.errors import LinkError as LinkError
from propagul.errors import LocalProtocolError as LocalProtocolError
from propagul.errors import NotReplicated as NotReplicated
from propagul.errors import NotRetained as NotRetained
from propagul.errors import PeerProtocolError as PeerProtocolError
from propagul.errors import PropagulError as PropagulError
from propagul.errors import StoreBusy as StoreBusy
from propagul.errors import StoreCorrupt as StoreCorrupt
from propagul.errors import StoreError as StoreError
from propagul.errors import StoreFull as StoreFull
from propagul.errors import StoreLocked as StoreLocked
from propagul.errors import SyncTimeout as SyncTimeout
from propagul.gossip import GossipConfig as GossipConfig
from propagul.store import REMOVE as REMOVE
from propagul.store import AgentStateStore as AgentStateStore
from propagul.store import Change as Change
from propagul.store import Connection as Connection
from propagul.store import Heard as Heard
from propagul.store import History as History
from propagul.store import Limits as Limits
from propagul.store import Member as Member
from propagul.store import Oversized as Oversized
from propagul.store import PastState as PastState
from propagul.store import Retention as Retention
from propagul.store import Rotation as Rotation
from propagul.store import StoreOptions as StoreOptions
from propagul.store import StoreStats as StoreStats
from propagul.store import SyncReport as SyncReport
from propagul.store import Version as Version
from propagul.store import connect as connect

logging.getLogger("propagul").addHandler(logging.NullHandler())  # silent unless the program wants to hear

try:
    __version__ = version("propagul")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"
