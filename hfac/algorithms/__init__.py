"""Bi-level methods, one per file, all with the `hfac.types.Algorithm` protocol, named in `REGISTRY`.

A new method is one file with a builder ``(problem, *, option=default, ...) -> Algorithm`` and a constant `NEEDS`, and
one line here. Written against `hfac.lower.Lower` it runs on every kind of problem; one that plans asks for a table.
"""

import sys
from typing import TYPE_CHECKING, Any

from hfac._registry import names, resolve

if TYPE_CHECKING:
    from hfac.types import Needs

REGISTRY: dict[str, Any] = {
    "a_parl": "hfac.algorithms._a_parl:a_parl",
    "advantage": "hfac.algorithms._advantage:advantage",
    "aid": "hfac.algorithms._aid:aid",
    "amd": "hfac.algorithms._amd:amd",
    "bellman_penalty": "hfac.algorithms._bellman_penalty:bellman_penalty",
    "bome": "hfac.algorithms._bome:bome",
    "decoupled": "hfac.algorithms._decoupled:decoupled",
    "exact_gradient": "hfac.algorithms._exact_gradient:exact_gradient",
    "f2sa": "hfac.algorithms._f2sa:f2sa",
    "hfac": "hfac.algorithms._hfac:hfac",
    "hpgd": "hfac.algorithms._hpgd:hpgd",
    "itd": "hfac.algorithms._itd:itd",
    "m_sobirl": "hfac.algorithms._m_sobirl:m_sobirl",
    "nested": "hfac.algorithms._nested:nested",
    "partial": "hfac.algorithms._partial:partial",
    "penalty_gaur": "hfac.algorithms._penalty_gaur:penalty_gaur",
    "single_loop_penalty": "hfac.algorithms._single_loop_penalty:single_loop_penalty",
    "sobirl": "hfac.algorithms._sobirl:sobirl",
    "true_reward": "hfac.algorithms._true_reward:true_reward",
    "value_penalty": "hfac.algorithms._value_penalty:value_penalty",
    "zeroth_order": "hfac.algorithms._zeroth_order:zeroth_order",
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
