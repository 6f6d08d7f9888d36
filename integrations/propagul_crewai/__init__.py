"""Propagul for CrewAI: what flows, crews and their memory know, on every machine of the room.

Importing it needs CrewAI; where that is missing, the ImportError names the extra that brings it.
"""

try:
    import crewai as _crewai  # noqa: F401 - asked for here, so that one message says what to install
except ImportError as error:
    raise ImportError('CrewAI is not installed here: pip install "propagul[crewai]>=1"') from error

from propagul_crewai.checkpoints import PropagulCheckpointProvider as PropagulCheckpointProvider
from propagul_crewai.crew import PersistentCrew as PersistentCrew
from propagul_crewai.flows import PropagulFlowPersistence as PropagulFlowPersistence
from propagul_crewai.memory import PropagulMemoryStorage as PropagulMemoryStorage
from propagul_crewai.memory import memory_storage_factory as memory_storage_factory
