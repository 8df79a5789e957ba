"""Model folders in Hugging Face's format: config.json and weights in one safetensors file or several shards."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac import _files
from hfac.language import architecture as _architecture
from hfac.language.architecture import Architecture
from hfac.types import PyTree

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
LAYER = "model.layers.{}."
OUTER = {"embed": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}
INNER = {  # name here -> in the files, within a layer
    "attention_norm": "input_layernorm.weight",
    "inner_norm": "post_attention_layernorm.weight",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    **{name: f"self_attn.{name}_proj.weight" for name in "qkvo"},
    **{f"{name}_bias": f"self_attn.{name}_proj.bias" for name in "qkvo"},
    **{name: f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")},
    **{f"{name}_bias": f"mlp.{name}_proj.bias" for name in ("gate", "up", "down")},
}
IGNORED = ("rotary_emb.inv_freq",)  # that old files hold and nobody reads


Tensors = Mapping[str, Callable[[], Any]]  # name -> what reads it


class Model(NamedTuple):
    """A pretrained decoder."""

    architecture: Architecture
    params: PyTree
    config: dict[str, Any]  # as config.json states it


def file_names(architecture: Architecture) -> dict[str, tuple[Any, ...]]:
    """Name in the files of every weight -> its path in the tree of parameters."""
    found: dict[str, tuple[Any, ...]] = {
        name: (part,) for part, name in OUTER.items() if part != "head" or not architecture.is_tied
    }
    for i in range(architecture.layers):
        found |= {LAYER.format(i) + INNER[part]: ("layers", i, part) for part in architecture.shapes}
    return found


def shape_of(architecture: Architecture, path: tuple[Any, ...]) -> tuple[int, ...]:
    """Shape of a weight by its path in the tree."""
    if path[0] == "layers":
        return architecture.shapes[path[2]]
    return (architecture.width,) if path[0] == "norm" else (architecture.vocabulary, architecture.width)


def load(folder: Path, dtype: Any = jnp.float32) -> Model:
    """Read a model folder.

    Args:
      folder: with config.json and safetensors.
      dtype: of the weights here, float32 or bfloat16.

    Raises:
      ValueError: if something is missing, damaged or not supported.
    """
    found, config = _architecture.read(folder / CONFIG)
    return Model(found, assembled(found, _tensors(folder), str(folder), dtype), config)


def assembled(architecture: Architecture, tensors: Tensors, where: str, dtype: Any) -> PyTree:
    """The tree of parameters of named tensors.

    Args:
      architecture: of the model.
      tensors: by their names in the files.
      where: they are from, for messages.
      dtype: of the weights.

    Raises:
      ValueError: if a tensor is missing, foreign, or of another shape.
    """
    known = file_names(architecture)
    check_names(known, [name for name in tensors if not _is_ignored(architecture, name)], where, architecture.name)
    params: dict[str, Any] = {"layers": [{} for _ in range(architecture.layers)]}
    for name, path in known.items():
        array = tensors[name]()
        if array.shape != shape_of(architecture, path):
            wanted = list(shape_of(architecture, path))
            raise ValueError(f"{where}: {name} must have the shape {wanted} of config.json, got {list(array.shape)}")
        place = params if path[0] != "layers" else params["layers"][path[1]]
        place[path[-1]] = jnp.asarray(array, dtype)
    return params


def check_names(known: Collection[str], given: Collection[str], where: str, what: str) -> None:
    """Raise `ValueError` unless the names of tensors are those that are known."""
    missing = [name for name in known if name not in given]
    if missing:
        raise ValueError(f"{where}: weights are missing: {_first(missing)}")
    foreign = [name for name in given if name not in known]
    if foreign:
        raise ValueError(f"{where}: holds weights that {what} does not have: {_first(foreign)}")


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _is_ignored(architecture: Architecture, name: str) -> bool:
    return name.endswith(IGNORED) or (architecture.is_tied and name == OUTER["head"])


def _tensors(folder: Path) -> Tensors:
    """Every tensor of a folder by name, to be read when it is called for.

    Raises:
      ValueError: if there is none, or a shard is missing or damaged.
    """
    if (folder / INDEX).is_file():
        try:
            shards = sorted(set(_files.read_table(folder / INDEX)["weight_map"].values()))
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{folder / INDEX} is no index of shards: {type(error).__name__}: {error}") from None
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder}: a shard is missing: {missing[0]}, of {len(shards)} that {INDEX} names")
    elif (folder / WEIGHTS).is_file():
        shards = [WEIGHTS]
    else:
        raise ValueError(f"{folder}: weights are missing: there is neither {WEIGHTS} nor {INDEX}")
    found: dict[str, Callable[[], Any]] = {}
    for shard in shards:
        found |= read_tensors(folder / shard)
    return found


def read_tensors(path: Path) -> Tensors:
    """Tensors of a safetensors file by name, to be read when they are called for.

    Raises:
      ValueError: if it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(str(path), framework="flax")
        names = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is no safetensors file, or is cut short: {error}") from None
    return {name: lambda name=name: file.get_tensor(name) for name in names}  # type: ignore[misc]


def save(folder: Path, architecture: Architecture, params: PyTree, config: Mapping[str, Any]) -> None:
    """Write config.json and model.safetensors to a folder that holds neither.

    Raises:
      FileExistsError: if it holds one.
    """
    from safetensors.flax import save_file

    for name in (CONFIG, WEIGHTS):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} exists; nothing is overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(named(architecture, params), str(folder / WEIGHTS), {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")


def named(architecture: Architecture, params: PyTree) -> dict[str, jax.Array]:
    """Weights by their names in the files."""
    found = {}
    for name, path in file_names(architecture).items():
        leaf: Any = params
        for part in path:
            leaf = leaf[part]
        found[name] = leaf
    return found


def digest(params: PyTree) -> str:
    """What tells a base from others, whichever precision it was read in."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        found.update(np.asarray(leaf.astype(jnp.bfloat16)).tobytes())
    return found.hexdigest()[:16]


def to_config(architecture: Architecture) -> dict[str, Any]:
    """A config.json that states an architecture."""
    rope = architecture.rope
    scaling: dict[str, Any] | None = None
    if rope.kind != "default":
        scaling = {"rope_type": rope.kind, "factor": rope.factor}
    if rope.kind == "llama3":
        scaling = {
            **(scaling or {}),
            _architecture.LOW: rope.low_frequency,
            _architecture.HIGH: rope.high_frequency,
            "original_max_position_embeddings": rope.original_length,
        }
    return {
        "architectures": [architecture.name],
        "model_type": architecture.name.removesuffix("ForCausalLM").lower(),
        "vocab_size": architecture.vocabulary,
        "hidden_size": architecture.width,
        "intermediate_size": architecture.inner_width,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.key_heads,
        "head_dim": architecture.head_width,
        "rms_norm_eps": architecture.norm_epsilon,
        "rope_theta": rope.theta,
        "rope_scaling": scaling,
        "tie_word_embeddings": architecture.is_tied,
        "attention_bias": architecture.has_output_bias,
        "mlp_bias": architecture.has_inner_bias,
        "hidden_act": "silu",
    }
