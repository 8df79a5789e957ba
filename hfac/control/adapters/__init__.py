"""Environments of other packages, ``PACKAGE:NAME``: one adapter per file, named in `REGISTRY`, imported when used.

Each is a function from a name of the package to an `hfac.control.Environment`: without the package's own resets, with
its time limit apart from its ends, and observations as one array [d] of float32.
"""

from typing import Any

from hfac._registry import names, resolve

REGISTRY: dict[str, Any] = {
    "brax": "hfac.control.adapters._brax:brax",
    "gymnax": "hfac.control.adapters._gymnax:gymnax",
    "jumanji": "hfac.control.adapters._jumanji:jumanji",
}


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY, name, "adapter")


def __dir__() -> list[str]:
    return names(REGISTRY)
