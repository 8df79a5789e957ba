"""What a builder takes beside its problem: names, types, defaults and words, for flags, files and searches."""

import inspect
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from hfac._registry import load

KINDS = {  # of lower level -> what builds one
    "sequences": "hfac.sequences.lower:lower",
    "tabular": "hfac.tabular.lower:lower",
}
PER_RUN = "a number that may differ from run to run of one compiled sweep"
Number = Annotated[float, PER_RUN]  # type of such an option; a run's `Schedules.options` override its value
FOR_METHODS = ("num_policies", "dtype")  # of a lower level: said by the method that asks for one


class Option(NamedTuple):
    """One keyword of a builder."""

    hint: Any
    default: Any
    words: str  # of its docstring
    is_number: bool = False  # whether it may differ between the runs of one compiled sweep


def of(builder: Callable[..., Any], kind: str = "tabular") -> dict[str, Option]:
    """Options of a builder by name; of a method's, also those of the lower level that it is to run on.

    Args:
      builder: of a problem or a method.
      kind: of the lower level, one of `KINDS`.
    """
    found = _own(builder)
    if any(p.kind == p.VAR_KEYWORD for p in inspect.signature(builder).parameters.values()):
        found |= {name: option for name, option in _own(load(KINDS[kind])).items() if name not in FOR_METHODS}
    return found


def _own(builder: Callable[..., Any]) -> dict[str, Option]:
    hints, words = typing.get_type_hints(builder), _words(builder)
    marked = typing.get_type_hints(builder, include_extras=True)
    return {
        p.name: Option(hints.get(p.name), p.default, words.get(p.name, ""), marked.get(p.name) == Number)
        for p in inspect.signature(builder).parameters.values()
        if p.default is not p.empty
    }


def _words(builder: Any) -> dict[str, str]:
    """What docstrings say of every argument, the builder's own before that of the one that it hands on to."""
    import docstring_parser

    base = getattr(builder, "base", None)
    inherited = {} if base is None else _words(base)
    params = docstring_parser.parse(builder.__doc__ or "").params
    return inherited | {p.arg_name: re.sub(r"\s+", " ", p.description or "") for p in params}
