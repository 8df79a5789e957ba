"""Pretrained decoders in the formats that others write: read, run, adapted, fine-tuned."""

from typing import Any

from hfac._registry import names, resolve

REGISTRY = {
    "Architecture": "hfac.language.architecture:Architecture",
    "Completions": "hfac.language.generation:Completions",
    "Model": "hfac.language.folders:Model",
    "Prompts": "hfac.language.generation:Prompts",
    "Rope": "hfac.language.architecture:Rope",
    "Tokenizer": "hfac.language.tokens:Tokenizer",
    "export": "hfac.language.models:export",
    "init": "hfac.language.decoder:init",
    "load": "hfac.language.models:load",
    "load_tokenizer": "hfac.language.models:load_tokenizer",
    "read": "hfac.language.decoder:read",
    "save": "hfac.language.folders:save",
    "write": "hfac.language.generation:write",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "part of hfac.language")


def __dir__() -> list[str]:
    return names(REGISTRY)
