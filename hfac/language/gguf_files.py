"""Models in GGUF files: read, dequantised, and written as a folder in Hugging Face's format."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from hfac.language import folders, tokens
from hfac.language.architecture import Architecture, Rope
from hfac.language.folders import Model

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
OUTER = {"embed": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"}
INNER = {  # name here -> in the files, within a layer
    "attention_norm": "attn_norm.weight",
    "inner_norm": "ffn_norm.weight",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    **{name: f"attn_{name}.weight" for name in "qkv"},
    **{f"{name}_bias": f"attn_{name}.bias" for name in "qkv"},
    "o": "attn_output.weight",
    "o_bias": "attn_output.bias",
    **{name: f"ffn_{name}.weight" for name in ("gate", "up", "down")},
    **{f"{name}_bias": f"ffn_{name}.bias" for name in ("gate", "up", "down")},
}
FREQUENCIES = "rope_freqs.weight"  # what llama3's scaling divides every angle by
PRETRAINED_LENGTH = 8_192  # of the models that are scaled so; their files do not say it


def load(path: Path, dtype: Any = jnp.float32) -> Model:
    """Read a GGUF file; quantised weights are dequantised.

    Args:
      path: of the file.
      dtype: of the weights here.

    Raises:
      ValueError: if it is damaged, or something in it is not supported.
    """
    fields, stored = _read(path)
    try:
        found = _architecture(fields, stored)
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    ends = {"eos_token_id": list(tokens.ends_of(fields)), "bos_token_id": fields.get(tokens.GGUF + "bos_token_id")}
    params = folders.assembled(found, _named(found, stored), str(path), dtype)
    return Model(found, params, folders.to_config(found) | ends)


def load_tokenizer(path: Path) -> tokens.Tokenizer:
    """The tokenizer of a GGUF file.

    Raises:
      ValueError: if the file is damaged, or the tokenizer of a kind that is not supported.
    """
    return tokens.from_gguf(_read(path)[0], str(path))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Callable[[], np.ndarray]]]:
    """What a file states, and what reads each of its tensors.

    Raises:
      ValueError: if it is no such file.
    """
    try:
        import gguf
    except ModuleNotFoundError:
        raise ValueError(f"{path}: GGUF files need the package gguf: pip install 'hfac[llm]'") from None
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        file = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in file.fields.items()}
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{path} is no GGUF file, or is cut short: {error}") from None

    def reading(tensor: Any) -> Callable[[], np.ndarray]:
        return lambda: gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    return fields, {tensor.name: reading(tensor) for tensor in file.tensors}


def _architecture(fields: Mapping[str, Any], stored: Mapping[str, Callable[[], np.ndarray]]) -> Architecture:
    """The architecture that a file states.

    Raises:
      KeyError: if it leaves something out.
      ValueError: if it is not supported.
    """
    kind = fields["general.architecture"]
    if kind not in ARCHITECTURES:
        raise ValueError(f"architecture {kind} is not supported; there are {', '.join(ARCHITECTURES)}")
    heads = int(fields[f"{kind}.attention.head_count"])
    width = int(fields[f"{kind}.embedding_length"])
    head_width = int(fields.get(f"{kind}.attention.key_length", width // heads))
    return Architecture(
        vocabulary=len(fields[f"{tokens.GGUF}tokens"]),
        width=width,
        inner_width=int(fields[f"{kind}.feed_forward_length"]),
        layers=int(fields[f"{kind}.block_count"]),
        heads=heads,
        key_heads=int(fields.get(f"{kind}.attention.head_count_kv", heads)),
        head_width=head_width,
        rope=_rope(kind, fields, stored, head_width),
        norm_epsilon=float(fields[f"{kind}.attention.layer_norm_rms_epsilon"]),
        is_tied=OUTER["head"] not in stored,
        has_bias="blk.0.attn_q.bias" in stored,
        has_output_bias="blk.0.attn_output.bias" in stored,
        has_inner_bias="blk.0.ffn_up.bias" in stored,
        normalizes_heads=kind == "qwen3",
        name=ARCHITECTURES[kind],
    )


def _rope(
    kind: str, fields: Mapping[str, Any], stored: Mapping[str, Callable[[], np.ndarray]], head_width: int
) -> Rope:
    """Rotary positions of a file.

    Raises:
      ValueError: if their scaling is not supported.
    """
    theta = float(fields.get(f"{kind}.rope.freq_base", 10_000.0))
    turned = int(fields.get(f"{kind}.rope.dimension_count", head_width))
    if turned != head_width:
        raise ValueError(f"rotary positions of {turned} of {head_width} coordinates are not supported")
    scaling = fields.get(f"{kind}.rope.scaling.type", "none")
    if scaling == "linear":
        return Rope(theta, "linear", float(fields[f"{kind}.rope.scaling.factor"]))
    if scaling != "none":
        raise ValueError(f"rope scaling {scaling} is not supported; there are none, linear and llama3's")
    if FREQUENCIES not in stored:
        return Rope(theta)
    divisors = stored[FREQUENCIES]()
    found = Rope(theta, "llama3", float(np.max(divisors)), original_length=PRETRAINED_LENGTH)
    if not np.allclose(Rope(theta).frequencies(head_width) / divisors, found.frequencies(head_width), rtol=1e-3):
        raise ValueError(f"{FREQUENCIES} is not what llama3's scaling makes of {PRETRAINED_LENGTH} positions")
    return found


def _named(architecture: Architecture, stored: Mapping[str, Callable[[], np.ndarray]]) -> folders.Tensors:
    """Tensors by the names that a folder's files give them, rows of queries and keys in a folder's order."""
    known = {OUTER[part]: name for part, name in folders.OUTER.items()}
    for i in range(architecture.layers):
        for part, name in INNER.items():
            known[f"blk.{i}.{name}"] = folders.LAYER.format(i) + folders.INNER[part]
    found = {known.get(name, name): read for name, read in stored.items() if name != FREQUENCIES}
    if architecture.name != ARCHITECTURES["llama"]:
        return found
    for i in range(architecture.layers):
        for part, heads in (("q", architecture.heads), ("k", architecture.key_heads)):
            for each in (part, f"{part}_bias"):
                name = folders.LAYER.format(i) + folders.INNER[each]
                if name in found:
                    found[name] = _unpaired(found[name], heads)
    return found


def _unpaired(read: Callable[[], np.ndarray], heads: int) -> Callable[[], np.ndarray]:
    """Rows of a projection with the two halves of every head apart; the files interleave them."""

    def rows() -> np.ndarray:
        stored = read()
        return stored.reshape(heads, -1, 2, *stored.shape[1:]).swapaxes(1, 2).reshape(stored.shape)

    return rows
