"""Bi-level methods, one per file, all with the `hfac.types.Algorithm` protocol, named in `REGISTRY`.

A new method is one file with a builder ``(problem, **static options) -> Algorithm`` and one line here.
"""

from typing import Any

from hfac._registry import names, resolve

REGISTRY = {
    "exact_gradient": "hfac.algorithms._exact_gradient:exact_gradient",
    "hfac": "hfac.algorithms._hfac:hfac",
    "nested": "hfac.algorithms._nested:nested",
    "partial": "hfac.algorithms._partial:partial",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "algorithm")


def __dir__() -> list[str]:
    return names(REGISTRY)
