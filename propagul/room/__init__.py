"""State that several agents share: who is there, areas to write in, and work to do.

    from propagul.room import Room

Everything here is rows of a store and nothing else; how they are laid out, and why, is in `docs/design/011`.
"""

from propagul.room._area import Area as Area
from propagul.room._area import View as View
from propagul.room._queue import Claim as Claim
from propagul.room._queue import WorkQueue as WorkQueue
from propagul.room._room import Agent as Agent
from propagul.room._room import Room as Room
from propagul.room._work import Phase as Phase
from propagul.room._work import Task as Task
from propagul.room._work import Word as Word
