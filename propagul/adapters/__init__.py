"""What adapters of agent frameworks share: long texts, JSON that repeats itself, lists that any replica appends to.

Nothing here knows a framework. It uses the store as any program does, and adapters bring how their items are read.
"""

from propagul.adapters._calls import asynchronous as asynchronous
from propagul.adapters._calls import in_thread as in_thread
from propagul.adapters._calls import waiting_once as waiting_once
from propagul.adapters._pieces import Pieces as Pieces
from propagul.adapters._texts import Texts as Texts
from propagul.adapters._texts import path as path
from propagul.adapters._texts import printed as printed
from propagul.adapters._timeline import End as End
from propagul.adapters._timeline import Entry as Entry
from propagul.adapters._timeline import Timeline as Timeline
