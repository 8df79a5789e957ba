"""What a builder takes beside its problem: names, types, defaults and words, for flags, files and searches."""

import dataclasses
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from hfac._registry import load

KINDS = {  # of lower level -> what builds one
    "control": "hfac.control.lower:lower",
    "language": "hfac.language.lower:lower",
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


def of(builder: Any, kind: str = "tabular") -> dict[str, Option]:
    """Options of a builder by name; of a method's, also those of the lower level that it is to run on.

    Args:
      builder: of a problem or a method.
      kind: of the lower level; one that is not among `KINDS` has no options that are known here.
    """
    builder = getattr(builder, "options", builder)
    found = _own(builder)
    if kind in KINDS and any(p.kind == p.VAR_KEYWORD for p in inspect.signature(builder).parameters.values()):
        found |= {name: option for name, option in _own(load(KINDS[kind])).items() if name not in FOR_METHODS}
    return found


def is_plain(hint: Any) -> bool:
    """Whether values of a type can be written down, as a flag and in a file."""
    if typing.get_origin(hint) is typing.Literal or hint in (int, float, bool, str, Path):
        return True
    parts = typing.get_args(hint)
    return bool(parts) and all(part is type(None) or part is Ellipsis or is_plain(part) for part in parts)


def lists(builder: Any, kind: str = "tabular") -> set[str]:
    """Options that may be lists, a dimension of the results each.

    Of a method these are the numbers that may differ between the runs of one compiled sweep; of a problem, which is
    built anew for every value, all single numbers.
    """
    is_method = any(p.default is p.empty for p in _parameters(builder) if p.kind == p.POSITIONAL_OR_KEYWORD)
    found = of(builder, kind).items()
    return {name for name, each in found if (each.is_number if is_method else _is_number(each.hint))}


def _parameters(builder: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(builder, "options", builder)).parameters.values())


def _is_number(hint: Any) -> bool:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return all(part is type(None) or _is_number(part) for part in typing.get_args(hint))
    return hint in (int, float)


def kind_of(problem: Any) -> str:
    """The kind of lower level that a problem has, or what a builder is annotated to build, tabular unless it says."""
    if hasattr(problem, "kind") or not inspect.isroutine(problem):
        return getattr(problem, "kind", "own")
    return getattr(typing.get_type_hints(problem).get("return"), "kind", "tabular")


def _own(builder: Any) -> dict[str, Option]:
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

    if dataclasses.is_dataclass(builder):
        params = docstring_parser.parse_from_object(builder).params
        return {p.arg_name: re.sub(r"\s+", " ", p.description or "") for p in params}
    base = getattr(builder, "base", None)
    inherited = {} if base is None else _words(base)
    params = docstring_parser.parse(builder.__doc__ or "").params
    return inherited | {p.arg_name: re.sub(r"\s+", " ", p.description or "") for p in params}
