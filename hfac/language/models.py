"""A pretrained decoder from wherever it is: a folder in Hugging Face's format, or a GGUF file."""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from hfac.language import adapters, folders, gguf_files, tokens
from hfac.language.folders import Model
from hfac.language.tokens import Tokenizer

GGUF = ".gguf"
BESIDE = (  # what lies with a model and belongs to its tokenizer
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "generation_config.json"),
)


def load(path: Path, dtype: Any = jnp.float32) -> Model:
    """Read a model.

    Args:
      path: of a folder with config.json and safetensors, or of a .gguf file.
      dtype: of the weights here, float32 or bfloat16.

    Raises:
      ValueError: if something is missing, damaged or not supported.
    """
    return gguf_files.load(path, dtype) if path.suffix == GGUF else folders.load(path, dtype)


def load_tokenizer(path: Path, model: Model) -> Tokenizer:
    """The tokenizer that lies with a model.

    Args:
      path: the model's.
      model: that it must belong to.

    Raises:
      ValueError: if it is missing, damaged, not supported, or belongs to another model.
    """
    found = gguf_files.load_tokenizer(path) if path.suffix == GGUF else tokens.load(path)
    vocabulary = model.architecture.vocabulary
    largest = max([*found.core.get_vocab(with_added_tokens=True).values(), *found.ends])
    if largest >= vocabulary:
        raise ValueError(
            f"{path}: its tokenizer does not belong to its model: it has a token {largest}, the model has {vocabulary}"
        )
    return found


def export(path: Path, folder: Path, adapter: Path | None = None, dtype: Any = jnp.float32) -> None:
    """Write a model as a folder in Hugging Face's format, with an adapter added into its weights if one is given.

    Args:
      path: of a model's folder, or of a .gguf file, whose weights are dequantised.
      folder: to write to, which holds no model.
      adapter: folder of an adapter in PEFT's format.
      dtype: of the weights in the file, float32 or bfloat16.

    Raises:
      ValueError: if something is missing, damaged, not supported, or the adapter belongs to another model.
      FileExistsError: if the folder holds a model.
    """
    model = load(path)
    tokenizer, params = load_tokenizer(path, model), model.params
    if adapter is not None:
        tree, lora = adapters.load(adapter, model.architecture, folders.digest(params))
        params = adapters.merged(params, tree, lora.scale)
    stored = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    stated = {name: value for name, value in model.config.items() if name != "torch_dtype"}
    folders.save(folder, model.architecture, stored, stated | {"dtype": jnp.dtype(dtype).name})
    if path.suffix == GGUF:
        tokenizer.save(folder)
    for name in BESIDE if path.suffix != GGUF else ():
        if (path / name).is_file():
            shutil.copyfile(path / name, folder / name)
