"""Registries map a public name to "module:function", so that listing them imports nothing."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any


def resolve(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """Import and return the entry called `name`.

    Raises:
      AttributeError: if there is none; the message names the nearest entry.
    """
    if name not in registry:
        near = difflib.get_close_matches(name, registry, 1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(registry))}"
        raise AttributeError(f"no {kind} is called '{name}'{hint}")
    return load(registry[name])


def load(place: str) -> Any:
    """What stands at "module:name", imported now."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def names(registry: Mapping[str, str]) -> list[str]:
    """Sorted public names, with the registry's own."""
    return sorted([*registry, "REGISTRY"])
