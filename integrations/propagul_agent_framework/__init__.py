"""Checkpoints and history of the Microsoft Agent Framework on replicated state: they survive crashes and machines.

    from propagul_agent_framework import PropagulCheckpointStorage, PropagulHistoryProvider

`PropagulCheckpointStorage` is a `CheckpointStorage`: give it to `WorkflowBuilder`. `PropagulHistoryProvider` is a
`HistoryProvider`: give it to an agent as a context provider.
"""

try:
    import agent_framework as _agent_framework  # noqa: F401 - what is missing is said here, once
except ImportError as error:
    raise ImportError(
        'propagul_agent_framework needs the Microsoft Agent Framework: pip install "propagul[agent-framework]>=1"'
    ) from error

from propagul_agent_framework._history import PropagulHistoryProvider as PropagulHistoryProvider
from propagul_agent_framework._storage import PropagulCheckpointStorage as PropagulCheckpointStorage
