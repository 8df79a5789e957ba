"""Flags, configuration files and builder options: everything between argv and a resolved configuration.

A value of a file is what a flag's text would be read as, in the file's own types: a whole number may be written 4, 4.0
or 4e0 and nothing else is one, numbers are finite, truth values are true and false, a list of numbers may hold ranges
("log:1e-3:1e-1:5"), and text is never a number.
"""

import dataclasses
import itertools
import json
import operator
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac import _files, options
from hfac._registry import resolve
from hfac.cli import InputError, as_input_error, nearest
from hfac.cli._settings import setting_name
from hfac.cli._values import Count, OneOrMore, Real, expand

TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def take(args: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Remove ``flag VALUE`` or ``flag=VALUE`` from args; returns the value, or None, and the rest.

    Raises:
      InputError: if the value is missing.
    """
    for i, arg in enumerate(args):
        if arg == flag:
            if i + 1 >= len(args):
                raise InputError(f"{flag} needs a value")
            return args[i + 1], args[:i] + args[i + 2 :]
        if arg.startswith(flag + "="):
            return arg.partition("=")[2], args[:i] + args[i + 1 :]
    return None, args


def gathered(args: Sequence[str], settings: type) -> list[str]:
    """Arguments in which every flag that takes a list stands once, with the values of all its occurrences."""
    hints = typing.get_type_hints(settings)
    lists = {_flag(name) for name, hint in hints.items() if _is_list(hint)}
    found: list[str] = []
    places: dict[str, list[str]] = {}
    rest = list(args)
    blocks: list[list[str]] = []
    while rest:
        block = [rest.pop(0)]
        if block[0].startswith("--"):
            name, equals, value = block[0].partition("=")
            while rest and not rest[0].startswith("--"):
                block.append(rest.pop(0))
            flag = _flag(setting_name(name.removeprefix("--")))
            if flag in lists:
                block = [flag, *([value] if equals else []), *block[1:]]
                if flag in places:
                    places[flag].extend(block[1:])
                    continue
                places[flag] = block
        blocks.append(block)
    for block in blocks:
        found += block
    return found


def refuse_values_of_switches(args: Sequence[str], switches: Mapping[str, str]) -> None:
    """Raise `InputError` if a switch is given a truth value.

    Args:
      args: as typed.
      switches: flag -> the flag that turns it off.
    """
    for arg, after in itertools.zip_longest(args, args[1:], fillvalue=""):
        flag, equals, value = arg.partition("=")
        flag = flag.replace("_", "-")
        value = value if equals else after
        if flag in switches and value.lower() in TRUTHS:
            raise InputError(f"{flag} takes no value; write {flag if TRUTHS[value.lower()] else switches[flag]}")


def switches_of(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flags of truth values, and those that turn them off."""
    names = [name.replace("_", "-") for name, hint in fields.items() if _stripped(hint) is bool]
    return {f"--{prefix}{name}": f"--{prefix}no-{name}" for name in names}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_list(hint: Any) -> bool:
    base = _stripped(hint)
    return typing.get_origin(base) is tuple and typing.get_args(base)[-1] is Ellipsis


def _stripped(hint: Any) -> Any:
    return typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def read_file(path: str, flag: str = "--config") -> dict[str, Any]:
    """A configuration file, TOML or JSON by its ending.

    Raises:
      InputError: if it cannot be read or is neither.
    """
    with as_input_error(f"{flag}: "):
        file = _files.place(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{flag}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{flag}: {path} is not UTF-8 text") from None
    try:
        is_toml = file.suffix.lower() == ".toml"
        loaded = tomllib.loads(text) if is_toml else json.loads(text, object_pairs_hook=_without_repetition)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{flag}: {path} does not parse: {error}") from None
    except RecursionError:
        raise InputError(f"{flag}: {path} does not parse: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{flag}: {path}: {error}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{flag}: {path} must hold a table of settings, got a {type(loaded).__name__}")
    return loaded


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    repeated = [key for key in keys if keys.count(key) > 1]
    if repeated:
        raise ValueError(f"'{repeated[0]}' is given twice")
    return dict(pairs)


def lookup(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """A registry entry, imported.

    Raises:
      InputError: if there is none.
    """
    if name not in registry:
        raise InputError(f"unknown {kind} '{name}'{nearest(name, registry)}")
    return resolve(registry, name, kind)


def option_hints(builder: Any, kind: str = "tabular") -> dict[str, Any]:
    """Types of the builder's options that a flag can carry."""
    return {name: option.hint for name, option in options.of(builder, kind).items() if _fits_a_flag(option.hint)}


def options_class(builder: Any, name: str, defaults: Mapping[str, Any], kind: str = "tabular") -> type:
    """A dataclass of the builder's options that a flag can carry, with the docstring's words as help."""
    fields = []
    for option, (hint, default, words, is_number) in options.of(builder, kind).items():
        if _fits_a_flag(hint):
            flag = OneOrMore if is_number else _as_flag(hint)
            described = operator.getitem(Annotated, (flag, tyro.conf.arg(help=words)))
            fields.append((option, described, dataclasses.field(default=defaults.get(option, default))))
    return dataclasses.make_dataclass(name, fields, frozen=True)


def _fits_a_flag(hint: Any) -> bool:
    if typing.get_origin(hint) is typing.Literal or hint in (int, float, bool, str):
        return True
    parts = typing.get_args(hint)
    return bool(parts) and all(part is type(None) or part is Ellipsis or _fits_a_flag(part) for part in parts)


def _as_flag(hint: Any) -> Any:
    """The same type, its numbers read by the rule for all numbers."""
    if hint in (int, float):
        return Count if hint is int else Real
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return types.GenericAlias(tuple, tuple(part if part is Ellipsis else _as_flag(part) for part in parts))
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.Union.__getitem__(tuple(map(_as_flag, parts)))
    return hint


def apply_file(
    loaded: Mapping[str, Any], config: type, tables: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split a configuration file into plain settings and tables of options, names as in the dataclass.

    Raises:
      InputError: if a key is unknown or given twice, or a value is not what its setting takes.
    """
    hints = typing.get_type_hints(config, include_extras=True)
    known = {field.name for field in dataclasses.fields(config)}
    plain: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {name: {} for name in tables}
    seen: set[str] = set()
    for key, value in loaded.items():
        name = setting_name(key)
        if name in seen:
            raise InputError(f"--config: '{name}' is given twice, once as '{key}'")
        seen.add(name)
        if name in nested:
            if not isinstance(value, dict):
                raise InputError(f"--config: {key}: {_shown(value)} is no table of options")
            nested[name] = value
        elif name in known:
            if isinstance(value, dict) and f"{name}_options" in tables:
                raise InputError(f"--config: [{key}] is no table; options of the {name} stand in [{name}_options]")
            plain[name] = typed(key, value, hints[name])
        else:
            raise InputError(f"--config: unknown setting '{key}'{nearest(key, [*sorted(known), *tables])}")
    return plain, nested


def typed_table(table: str, given: Mapping[str, Any], builder: Any, kind: str = "tabular") -> dict[str, Any]:
    """A file's table of options, every value of its option's type.

    Raises:
      InputError: if a key is no option or given twice, or a value is not what its option takes.
    """
    hints = option_hints(builder, kind)
    several = {name for name, option in options.of(builder, kind).items() if option.is_number}
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in hints:
            raise InputError(f"--config: unknown setting '{table}.{key}'{nearest(name, hints)}")
        if name in found:
            raise InputError(f"--config: '{table}.{name}' is given twice, once as '{key}'")
        is_list = name in several and isinstance(value, list | tuple)
        if is_list and not value:
            raise InputError(f"--config: {table}.{key}: the list is empty; give at least one number")
        found[name] = typed(f"{table}.{key}", value, tuple[float, ...] if is_list else hints[name])
    return found


def listed(chosen: Any) -> dict[str, tuple[float, ...]]:
    """Options of a method that are lists of numbers, a dimension of the results each."""
    values = {} if chosen is None else dataclasses.asdict(chosen)
    return {name: value for name, value in values.items() if isinstance(value, tuple) and _is_numbers(value)}


def _is_numbers(value: tuple[Any, ...]) -> bool:
    return len(value) > 1 and all(isinstance(each, float) for each in value)


def build_method(builder: Any, problem: Any, chosen: Any) -> tuple[Any, dict[tuple[str, ...], list[tuple[float, ...]]]]:
    """The method with the first value of every list among its options, and the lists as axes of a grid.

    Raises:
      InputError: if it refuses a value, or a list holds one twice.
    """
    lists = listed(chosen)
    first = build(
        builder, (problem,), dataclasses.replace(chosen, **{name: v[0] for name, v in lists.items()}), "algorithm"
    )
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise InputError(f"--algorithm.{name.replace('_', '-')} lists a value twice")
        for value in values[1:]:
            others = {other: v[0] for other, v in lists.items()}
            build(builder, (problem,), dataclasses.replace(chosen, **others | {name: value}), "algorithm")
    return first, {(f"algorithm.{name}",): [(value,) for value in values] for name, values in lists.items()}


def typed(key: str, value: Any, hint: Any) -> Any:
    """A value of a file as its setting's type.

    Raises:
      InputError: if it is none.
    """
    try:
        return _typed(value, _stripped(hint))
    except ValueError as error:
        raise InputError(f"--config: {key}: {error}") from None


def _typed(value: Any, hint: Any) -> Any:
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if not any(value == part and type(value) is type(part) for part in parts):
            raise ValueError(f"{_shown(value)} is none of {', '.join(map(str, parts))}")
        return value
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        others = [part for part in parts if part is not type(None)]
        if value is None and len(others) < len(parts):
            return None
        return _typed(value, _stripped(others[0]))
    if typing.get_origin(hint) is tuple:
        return _typed_list(value, parts)
    return _PLAIN[hint](value)


def _typed_list(value: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    kind = _stripped(parts[0])
    if parts[-1] is Ellipsis and kind is float:  # ranges and single numbers, as flags take them
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(x for item in items for x in (expand(item) if _is_range(item) else [_real(item)]))
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_shown(value)} is no list")
    if parts[-1] is Ellipsis:
        return tuple(_typed(item, kind) for item in value)
    if len(value) != len(parts):
        raise ValueError(f"{_shown(value)} must have {len(parts)} entries, got {len(value)}")
    return tuple(_typed(item, _stripped(part)) for item, part in zip(value, parts, strict=True))


def _is_range(value: Any) -> bool:
    return isinstance(value, str) and ":" in value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        quoted = "; write it without quotation marks" if isinstance(value, str) else ""
        shown = f"'{value}'" if isinstance(value, str) else _shown(value)
        raise ValueError(f"{shown} is not a number{quoted}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not float("-inf") < number < float("inf"):
        raise ValueError(f"{_shown(value)} is not finite")
    return number


def _whole(value: Any) -> int:
    number = _real(value)
    if number != int(number):
        raise ValueError(f"{_shown(value)} is not a whole number")
    return int(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no text")
    return value


def _path(value: Any) -> Path:
    return _files.place(_text(value) if not isinstance(value, Path) else value)


_PLAIN = {int: _whole, float: _real, bool: _truth, str: _text, Path: _path}


def _shown(value: Any) -> str:
    """A value as a file would hold it, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:60] + " ..."


def build(builder: Any, args: tuple[Any, ...], chosen: Any, kind: str) -> Any:
    """Call a builder with parsed options.

    Raises:
      InputError: if it refuses them.
    """
    try:
        return builder(*args, **dataclasses.asdict(chosen))
    except ValueError as error:
        raise InputError(f"--{kind}: {error}") from None
    except (MemoryError, OverflowError):
        raise InputError(f"--{kind}: so large a {kind} does not fit into this machine's memory") from None
