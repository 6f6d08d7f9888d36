"""LangGraph on replicated state: threads that survive crashes and machines.

from propagul_langgraph import PropagulSaver
"""

try:
    import langgraph.checkpoint.base  # noqa: F401 - whether it is there
except ImportError as error:
    raise ImportError('propagul_langgraph needs LangGraph: pip install "propagul[langgraph]>=1"') from error

from propagul_langgraph._saver.content import MissingContent as MissingContent
from propagul_langgraph.cache import PropagulCache as PropagulCache
from propagul_langgraph.deploy import create_checkpointer as create_checkpointer
from propagul_langgraph.deploy import create_store as create_store
from propagul_langgraph.saver import PropagulSaver as PropagulSaver
from propagul_langgraph.store import PropagulStore as PropagulStore
