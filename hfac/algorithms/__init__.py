"""Bi-level methods, one per file, all with the `hfac.types.Algorithm` protocol, named in `REGISTRY`.

A new method is one file with a builder ``(problem, *, option=default, ...) -> Algorithm`` and a constant `NEEDS`, and
one line here.
"""

import sys
from typing import TYPE_CHECKING, Any

from hfac._registry import names, resolve

if TYPE_CHECKING:
    from hfac.types import Needs

REGISTRY = {
    "exact_gradient": "hfac.algorithms._exact_gradient:exact_gradient",
    "hfac": "hfac.algorithms._hfac:hfac",
    "nested": "hfac.algorithms._nested:nested",
    "partial": "hfac.algorithms._partial:partial",
}


def needs(name: str) -> "Needs":
    """What the method called `name` asks for.

    Raises:
      AttributeError: if there is none; the message names the nearest.
    """
    return sys.modules[resolve(REGISTRY, name, "algorithm").__module__].NEEDS


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "algorithm")


def __dir__() -> list[str]:
    return names(REGISTRY)
