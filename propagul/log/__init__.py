"""The event log on disk: append, recover, and nothing it was not given is ever read back."""

from propagul.log.directory import StateDirectory as StateDirectory
from propagul.log.event_log import EventLog as EventLog
from propagul.log.recovery import Recovery as Recovery
