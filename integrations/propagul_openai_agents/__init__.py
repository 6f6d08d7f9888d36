"""Sessions of the OpenAI Agents SDK on replicated state: conversations that survive crashes and machines.

    from propagul_openai_agents import PropagulSession

`PropagulSession` is the SDK's `Session`: give it to `Runner.run`.
"""

try:
    import agents as _agents  # noqa: F401 - what is missing is said here, once
except ImportError as error:
    raise ImportError(
        'propagul_openai_agents needs the OpenAI Agents SDK: pip install "propagul[openai-agents]>=1"'
    ) from error

from propagul_openai_agents._session import PropagulSession as PropagulSession
