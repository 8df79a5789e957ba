"""Registries map a public name to "module:function", so that listing them imports nothing."""

import importlib
from collections.abc import Mapping
from typing import Any

from hfac import _places
from hfac._errors import InputError, nearest


def resolve(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """Import and return the entry called `name`.

    Raises:
      AttributeError: if there is none; the message names the nearest entry.
    """
    if name not in registry:
        raise AttributeError(f"no {kind} is called '{name}'{nearest(name, sorted(registry))}")
    return load(registry[name])


def find(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """The same for a name that a person gave, who may also say where a builder of their own is.

    Raises:
      InputError: if there is none.
    """
    if not is_known(registry, name):
        raise InputError(f"unknown {kind} '{name}'{nearest(name, registry)}")
    return load(registry[name]) if name in registry else _places.builder(name, kind, registry)


def is_known(registry: Mapping[str, str], name: str) -> bool:
    """Whether `find` looks for it: a name of the registry, or a place."""
    return name in registry or _places.is_place(name)


def load(place: Any) -> Any:
    """What stands at "module:name", imported now; what was registered itself is itself."""
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def names(registry: Mapping[str, str]) -> list[str]:
    """Sorted public names, with the registry's own."""
    return sorted([*registry, "REGISTRY"])
