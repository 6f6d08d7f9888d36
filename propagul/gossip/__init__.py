"""Who is there and what do they miss: the protocol without I/O.

The store's driver feeds it with links and time; the simulator feeds it with neither.
"""

from propagul.gossip.config import GossipConfig as GossipConfig
from propagul.gossip.directions import Direction as Direction
from propagul.gossip.events import Drop as Drop
from propagul.gossip.events import Effect as Effect
from propagul.gossip.events import Event as Event
from propagul.gossip.events import Incoming as Incoming
from propagul.gossip.events import InThread as InThread
from propagul.gossip.events import LinkDown as LinkDown
from propagul.gossip.events import LinkKey as LinkKey
from propagul.gossip.events import LinkUp as LinkUp
from propagul.gossip.events import Outgoing as Outgoing
from propagul.gossip.events import Provable as Provable
from propagul.gossip.events import Ready as Ready
from propagul.gossip.events import Received as Received
from propagul.gossip.events import Settled as Settled
from propagul.gossip.events import Source as Source
from propagul.gossip.events import Tick as Tick
from propagul.gossip.events import Wrote as Wrote
from propagul.gossip.messages import Hello as Hello
from propagul.gossip.node import GossipNode as GossipNode
from propagul.gossip.rate import RateCap as RateCap
