"""``hfac export MODEL OUT``: a model as a Hugging Face folder, with an adapter added into its weights."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hfac import _files
from hfac._errors import InputError, as_input_error
from hfac._progress import say, waiting
from hfac.cli import parse

DESCRIPTION = (
    "Write a pretrained decoder as a folder that transformers and others load: with --adapter its adapter is added "
    "into the weights, a .gguf file is dequantised."
)


@dataclasses.dataclass(frozen=True)
class Export:
    """What is written."""

    model: Annotated[Path, tyro.conf.Positional]
    """Folder with config.json, safetensors and tokenizer.json, or a .gguf file."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write to, which must not be there yet."""
    adapter: Path | None = None
    """Folder with an adapter in PEFT's format."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in the file."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(Export, list(args), "hfac export", DESCRIPTION)
    if settings.out.exists():
        raise InputError(f"{settings.out} exists; nothing is overwritten")
    import jax

    from hfac import runs

    runs.configure(1, True, False)
    from hfac.language import models

    with waiting("writing the model", settings.quiet), as_input_error():
        models.export(settings.model, settings.out, settings.adapter, jax.numpy.dtype(settings.dtype))
    say(f"written: {_files.shown(settings.out)}", settings.quiet)
