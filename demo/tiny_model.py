"""Write a tiny, valid model file in llama.cpp's format that says the words we choose.

The weights are not trained: every attention and feed-forward matrix is zero, so a block adds nothing and the logits
are `output @ norm(token_embd[last token])`. `output` is laid out so that each word is followed by the next one: the
network is a Markov chain we know. A server that runs the file streams a text that tells a demo or a test which model,
and so which box, answered. Larger `layers` and `embd` cost real arithmetic and make a model as slow as wanted.

    python demo/tiny_model.py alpha.gguf --name alpha --words "alpha box speaking one two three"
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

CHAT_TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n# Tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif -%}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML."""

TOOL_TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n# Tools\n<tools>{% for t in tools %}{{ t | tojson }}\n{% endfor %}</tools>\n"
    "For each function call return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n{% endif -%}'
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] %}{{ m['content'] }}{% endif %}"
    '{% if m.tool_calls %}{% for c in m.tool_calls %}\n<tool_call>\n{"name": "{{ c.function.name }}", "arguments": '
    "{{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A Hermes-style template: llama.cpp reads `<tool_call>{json}</tool_call>` as a tool call."""

_SPACE = "\u2581"
_GAIN = np.float32(3.0)  # RMSNorm scales |x| to sqrt(embd), so the winner leads by about gain * sqrt(embd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the network is; the time per token grows with `layers * embd * (embd + ff)`."""

    layers: int = 2
    embd: int = 64
    ff: int = 128
    heads: int = 4
    kv_heads: int = 2
    context: int = 4096


SLOW = Shape(layers=6, embd=1024, ff=4096)
"""About 330 MB of weights and 10 to 20 tokens a second on one slow core."""


class _Vocabulary:
    """Byte fallback for any prompt, single characters, and the words of the chain in order."""

    def __init__(self, words: Sequence[str], *, literal: bool) -> None:
        self.tokens: list[bytes] = []
        self.scores: list[float] = []
        self.kinds: list[int] = []
        kind = gguf.TokenType
        self._add("<unk>", 0, kind.UNKNOWN)
        self.start = self._add("<s>", 0, kind.CONTROL)
        self._add("</s>", 0, kind.CONTROL)
        for byte in range(256):
            self._add(f"<0x{byte:02X}>", 0, kind.BYTE)
        self._add("<|im_start|>", 0, kind.CONTROL)
        self.end = self._add("<|im_end|>", 0, kind.CONTROL)
        for character in [*map(chr, range(33, 127)), _SPACE]:
            self._add(character, -1000, kind.NORMAL)
        texts = (word if literal else f" {word}" for word in words)
        self.chain = [self._add(text.replace(" ", _SPACE), -1 - rank, kind.NORMAL) for rank, text in enumerate(texts)]

    def _add(self, text: str, score: float, kind: int) -> int:
        self.tokens.append(text.encode())
        self.scores.append(float(score))
        self.kinds.append(int(kind))
        return len(self.tokens) - 1


def _unit_rows(matrix: Matrix) -> Matrix:
    lengths: Matrix = np.linalg.norm(matrix, axis=1, keepdims=True).astype(np.float32)
    return matrix / lengths


def _chain_weights(vocabulary: _Vocabulary, embd: int, *, loop: bool, seed: int) -> tuple[Matrix, Matrix]:
    """The token embedding and output matrices: each word leads to the next, any other token to the first word."""
    rng = np.random.default_rng(seed)
    count, chain = len(vocabulary.tokens), vocabulary.chain
    embedding = _unit_rows(rng.standard_normal((count, embd)).astype(np.float32))
    start = _unit_rows(rng.standard_normal((1, embd)).astype(np.float32))[0]
    outside = np.setdiff1d(np.arange(count), chain)
    embedding[outside] = _unit_rows(np.float32(0.98) * start + np.float32(0.2) * embedding[outside])
    output: Matrix = rng.standard_normal((count, embd)).astype(np.float32) * np.float32(0.002)
    output[chain[0]] += _GAIN * start
    for word, successor in [*pairwise(chain), (chain[-1], chain[0] if loop else vocabulary.end)]:
        output[successor] += _GAIN * embedding[word]
    return embedding, output


def _write_header(
    writer: gguf.GGUFWriter, name: str, vocabulary: _Vocabulary, shape: Shape, *, template: str | None, pooled: bool
) -> None:
    writer.add_name(name)
    writer.add_description("a test model that was never trained")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embd)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.embd // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.kinds)
    writer.add_bos_token_id(vocabulary.start)
    writer.add_eos_token_id(vocabulary.end)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if pooled:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    if template:
        writer.add_chat_template(template)


def _write_block(writer: gguf.GGUFWriter, prefix: str, shape: Shape) -> None:
    embd, ff, kv_rows = shape.embd, shape.ff, shape.kv_heads * shape.embd // shape.heads
    sizes = {
        "attn_q": (embd, embd),
        "attn_k": (kv_rows, embd),
        "attn_v": (kv_rows, embd),
        "attn_output": (embd, embd),
        "ffn_gate": (ff, embd),
        "ffn_up": (ff, embd),
        "ffn_down": (embd, ff),
    }
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{prefix}.{name}.weight", np.ones(embd, np.float32))
    for name, size in sizes.items():
        writer.add_tensor(f"{prefix}.{name}.weight", np.zeros(size, np.float32))


def write_tiny_model(
    path: Path | str,
    *,
    name: str,
    words: str | Sequence[str],
    loop: bool = False,
    shape: Shape | None = None,
    template: str | None = CHAT_TEMPLATE,
    pooled: bool = False,
    seed: int = 7,
) -> None:
    """Write one model file, 0.5 MB and well under a second at the default shape.

    Args:
        path: The file to write, by custom `<name>.gguf`.
        name: The model's name inside the file.
        words: What it says: a sentence split at spaces, or a sequence of token texts taken as they are.
        loop: Start again after the last word (the answer then ends with `length`) instead of stopping.
        shape: How large the network is; `Shape()` or `SLOW`.
        template: The chat template; None leaves it out.
        pooled: Mark the file as an embedding model with mean pooling.
        seed: Of the embedding vectors.

    Raises:
        ValueError: No words, or one word twice: each word has one successor.
    """
    shape = shape or Shape()
    chain = words.split() if isinstance(words, str) else list(words)
    if not chain or len(set(chain)) != len(chain):
        raise ValueError("the chain needs at least one word and no word twice: each word has one successor")
    vocabulary = _Vocabulary(chain, literal=not isinstance(words, str))
    embedding, output = _chain_weights(vocabulary, shape.embd, loop=loop, seed=seed)
    writer = gguf.GGUFWriter(str(path), "llama")
    _write_header(writer, name, vocabulary, shape, template=template, pooled=pooled)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(shape.embd, np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(shape.layers):
        _write_block(writer, f"blk.{layer}", shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a tiny model file that says the words you choose.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--name", default="tiny")
    parser.add_argument("--words", default="fleet test words stream one after another")
    parser.add_argument("--tokens", help="a JSON list of token texts to say instead of --words")
    parser.add_argument("--loop", action="store_true", help="repeat the text until max_tokens")
    parser.add_argument("--layers", type=int, default=Shape().layers)
    parser.add_argument("--embd", type=int, default=Shape().embd)
    parser.add_argument("--ff", type=int, default=Shape().ff)
    parser.add_argument("--context", type=int, default=Shape().context)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tool-template", action="store_true", help="a chat template with tool calls")
    parser.add_argument("--no-template", action="store_true")
    parser.add_argument("--mean-pooling", action="store_true", help="mark it as an embedding model")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = _parse(arguments)
    template = TOOL_TEMPLATE if chosen.tool_template else CHAT_TEMPLATE
    write_tiny_model(
        chosen.path,
        name=chosen.name,
        words=json.loads(chosen.tokens) if chosen.tokens else chosen.words,
        loop=chosen.loop,
        shape=Shape(layers=chosen.layers, embd=chosen.embd, ff=chosen.ff, context=chosen.context),
        template=None if chosen.no_template else template,
        pooled=chosen.mean_pooling,
        seed=chosen.seed,
    )


if __name__ == "__main__":
    main()
