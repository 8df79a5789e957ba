"""Bi-level methods, one per file, all with the `hfac.types.Algorithm` protocol, named in `REGISTRY`.

A new method is one file with a builder ``(problem, *, option=default, ...) -> Algorithm`` and a constant `NEEDS`, and
one line here: in `REGISTRY` for tabular problems, in `EPISODIC` for those over whole sequences.
"""

import sys
from typing import TYPE_CHECKING, Any

from hfac._registry import names, resolve

if TYPE_CHECKING:
    from hfac.types import Needs

REGISTRY = {
    "a_parl": "hfac.algorithms._a_parl:a_parl",
    "advantage": "hfac.algorithms._advantage:advantage",
    "aid": "hfac.algorithms._aid:aid",
    "amd": "hfac.algorithms._amd:amd",
    "bellman_penalty": "hfac.algorithms._bellman_penalty:bellman_penalty",
    "bome": "hfac.algorithms._bome:bome",
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
    "value_penalty": "hfac.algorithms._value_penalty:value_penalty",
    "zeroth_order": "hfac.algorithms._zeroth_order:zeroth_order",
}

EPISODIC = {
    "decoupled_episodic": "hfac.algorithms._decoupled_episodic:decoupled_episodic",
    "hfac_episodic": "hfac.algorithms._hfac_episodic:hfac_episodic",
    "nested_episodic": "hfac.algorithms._nested_episodic:nested_episodic",
    "partial_episodic": "hfac.algorithms._partial_episodic:partial_episodic",
}


_OPTIONS = {"Limits": "hfac.algorithms._episodic:Limits"}  # values that builders take


def needs(name: str) -> "Needs":
    """What the method called `name` asks for.

    Raises:
      AttributeError: if there is none; the message names the nearest.
    """
    return sys.modules[resolve(REGISTRY | EPISODIC, name, "algorithm").__module__].NEEDS


def __getattr__(name: str) -> Any:
    return resolve(REGISTRY | EPISODIC | _OPTIONS, name, "algorithm")


def __dir__() -> list[str]:
    return [*names(REGISTRY | EPISODIC | _OPTIONS), "EPISODIC"]
