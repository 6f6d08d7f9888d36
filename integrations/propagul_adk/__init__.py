"""Sessions of Google's Agent Development Kit on replicated state: they survive crashes and machines.

    from propagul_adk import PropagulSessionService

`PropagulSessionService` is a `BaseSessionService`: give it to `Runner`.
"""

try:
    import google.adk as _adk  # noqa: F401 - what is missing is said here, once
except ImportError as error:
    raise ImportError('propagul_adk needs the Agent Development Kit: pip install "propagul[adk]>=1"') from error

from propagul_adk._service import PropagulSessionService as PropagulSessionService
