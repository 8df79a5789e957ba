"""A pretrained decoder from wherever it is: a folder in Hugging Face's format, or a GGUF file."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp

from hfac.language import folders, gguf_files, tokens
from hfac.language.folders import Model
from hfac.language.tokens import Tokenizer

GGUF = ".gguf"


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
