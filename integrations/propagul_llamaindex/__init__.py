"""Documents, indices and chats of LlamaIndex on replicated state: they survive crashes and machines.

    from propagul_llamaindex import PropagulChatStore, PropagulKVStore

`PropagulKVStore` is a `BaseKVStore`: give it to `KVDocumentStore` and `KVIndexStore`. `PropagulChatStore` is a
`BaseChatStore`: give it to a chat memory.
"""

try:
    import llama_index.core as _llama_index  # noqa: F401 - what is missing is said here, once
except ImportError as error:
    raise ImportError('propagul_llamaindex needs LlamaIndex: pip install "propagul[llamaindex]>=1"') from error

from propagul_llamaindex._chat_store import PropagulChatStore as PropagulChatStore
from propagul_llamaindex._kv_store import PropagulKVStore as PropagulKVStore
