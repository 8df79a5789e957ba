"""``hfac generate MODEL``: what a language model writes, with and without an adapter."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hfac import _files
from hfac._errors import InputError, as_input_error
from hfac._progress import progress, say, waiting
from hfac.cli import parse
from hfac.cli._values import Count, Real

DESCRIPTION = (
    "Write completions of prompts with a pretrained decoder: a Hugging Face folder (Llama, Mistral, Qwen2, Qwen3) or a "
    ".gguf file. With --adapter, base and adapted model beside each other, from the same random numbers."
)


@dataclasses.dataclass(frozen=True)
class Generate:
    """Settings of a generation."""

    model: Annotated[Path, tyro.conf.Positional]
    """Folder with config.json, safetensors and tokenizer.json, or a .gguf file."""
    prompts: Path | None = None
    """File of prompts: JSON a line with "prompt" or "messages" (.jsonl), or one text a line."""
    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """One more prompt; may be repeated."""
    adapter: Path | None = None
    """Folder with an adapter in PEFT's format; the base stands beside it."""
    samples: Count = 1
    """Completions of every prompt."""
    length: Count = 64
    """Tokens of a completion, at most."""
    temperature: Real = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    seed: Count = 0
    """Of the random numbers; each prompt has its own."""
    longest_prompt: Count = 512
    """Tokens that a prompt may have."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in memory."""
    out: Path | None = None
    """File to write to as JSON a line, which must not be there yet: the prompt's fields, text, and base_text."""
    quiet: bool = False
    """Print errors and what was written only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(Generate, list(args), "hfac generate", DESCRIPTION)
    if settings.prompts is None and not settings.prompt:
        raise InputError("which prompts? --prompts FILE, or --prompt TEXT")
    for name, least in (("samples", 1), ("length", 1), ("longest_prompt", 1), ("seed", 0)):
        if getattr(settings, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(settings, name)}")
    if settings.temperature < 0:
        raise InputError(f"--temperature must be at least 0, got {settings.temperature:g}")
    if settings.out is not None and settings.out.exists():
        raise InputError(f"--out {settings.out} exists; nothing is overwritten")
    with waiting("reading the model", settings.quiet), as_input_error():
        beginnings, texts = _prepared(settings)
    before, *after = _written(settings, texts)
    _print(beginnings, before, after[0] if after else None)
    if settings.out is not None:
        rows = [
            {**dict(each.record), **({"base_text": base} if after else {}), "text": text}
            for place, each in enumerate(beginnings)
            for base, text in zip(before[place], (after[0] if after else before)[place], strict=True)
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        _files.replace(settings.out, lines)
        say(f"written: {_files.shown(settings.out)}", settings.quiet)


def _prepared(settings: Generate) -> tuple[list[Any], Any]:
    """Prompts, and a function that writes their completions.

    Raises:
      ValueError: if a file is not what it should be.
    """
    import jax

    from hfac import runs

    runs.configure(1, True, False)
    from hfac.language import adapters, completing, folders, models, prompts

    model = models.load(settings.model, jax.numpy.dtype(settings.dtype))
    tokenizer = models.load_tokenizer(settings.model, model)
    longest = settings.longest_prompt
    found = [] if settings.prompts is None else prompts.read_prompts(settings.prompts, tokenizer, longest)
    found += prompts.of_texts(settings.prompt, tokenizer, longest)
    trees, scale = [], 1.0
    if settings.adapter is not None:
        tree, lora = adapters.load(settings.adapter, model.architecture, folders.digest(model.params))
        zero = jax.tree.map(jax.numpy.zeros_like, tree)
        trees, scale = [zero, tree], lora.scale
    options = completing.Options(settings.samples, settings.length, settings.temperature, settings.seed)

    def write(update: Any) -> list[list[list[str]]]:
        return completing.complete(model, tokenizer, found, trees, scale, options, update)

    return found, write


def _written(settings: Generate, write: Any) -> list[list[list[str]]]:
    with progress("writing", None, "completions", settings.quiet) as bar:
        return write(bar.update)


def _print(beginnings: Sequence[Any], before: Sequence[Sequence[str]], after: Sequence[Sequence[str]] | None) -> None:
    """Prompts and their completions; with an adapter, the base's first."""
    for place, each in enumerate(beginnings):
        print(("\n" if place else "") + each.text)
        for sample, text in enumerate(before[place]):
            if after is None:
                print(f"  | {_one_line(text)}")
            else:
                print(f"  base    | {_one_line(text)}\n  adapter | {_one_line(after[place][sample])}")


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
