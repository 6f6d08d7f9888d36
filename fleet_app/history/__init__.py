"""What was: figures of every node by time, what happened, and how long each node has been away.

`History` is the whole face of this room: tell it of this box's measurements (`own`) and of the fleet (`saw`), ask it
for `series`, `events` and `absence_s`. All of it lies in one SQLite file that one thread writes (`book`); on the event
loop there is a queue and nothing else. What cannot be kept is said in `notices`, and stops nothing.
"""

from fleet_app.history.events import Event, Events
from fleet_app.history.figures import figures_of
from fleet_app.history.history import History
from fleet_app.history.series import Series

__all__ = ["Event", "Events", "History", "Series", "figures_of"]
