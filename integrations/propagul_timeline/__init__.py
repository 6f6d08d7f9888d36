"""What several adapters keep: a list that any replica appends to, cleared for good, of texts of any length.

It knows no framework and uses the store as any program does. Adapters bring how their items are read.
"""

from propagul_timeline._calls import in_thread as in_thread
from propagul_timeline._texts import Texts as Texts
from propagul_timeline._texts import path as path
from propagul_timeline._texts import printed as printed
from propagul_timeline._timeline import End as End
from propagul_timeline._timeline import Entry as Entry
from propagul_timeline._timeline import Timeline as Timeline
