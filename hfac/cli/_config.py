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
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac import _files, options
from hfac._errors import InputError, as_input_error, nearest
from hfac.cli._values import MAX_LIST, Count, OneOrMore, OneOrMoreWhole, Real, expand
from hfac.settings import key_of

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


def last(args: Sequence[str], flag: str) -> str | None:
    """The value that counts of a flag that takes one, or None.

    Raises:
      InputError: if the value is missing.
    """
    found, rest = take(list(args), flag)
    while found is not None:
        again, rest = take(rest, flag)
        if again is None:
            break
        found = again
    return found


def list_flags(settings: type) -> set[str]:
    """Flags of a command's settings that take a list."""
    return {_flag(name) for name, hint in typing.get_type_hints(settings).items() if _is_list(hint)}


def gathered(args: Sequence[str], lists: Collection[str]) -> list[str]:
    """Arguments in which every flag that takes a list stands once, with the values of all its occurrences."""
    places: dict[str, list[str]] = {}
    rest = list(args)
    blocks: list[list[str]] = []
    while rest:
        block = [rest.pop(0)]
        if block[0].startswith("--"):
            name, equals, value = block[0].partition("=")
            while rest and not rest[0].startswith("--"):
                block.append(rest.pop(0))
            flag = _flag(key_of(name.removeprefix("--")))
            if flag in lists:
                block = [flag, *([value] if equals else []), *block[1:]]
                if flag in places:
                    places[flag].extend(block[1:])
                    continue
                places[flag] = block
        blocks.append(block)
    return [word for block in blocks for word in block]


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
        if flag in switches.values() and value.lower() in TRUTHS:
            positive = next(on for on, off in switches.items() if off == flag)
            raise InputError(f"{flag} takes no value; write {positive if not TRUTHS[value.lower()] else flag}")
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
    if "\0" in text:
        raise InputError(f"{flag}: {path} is not UTF-8 text")
    try:
        is_toml = file.suffix.lower() == ".toml"
        loaded = tomllib.loads(text) if is_toml else json.loads(text, object_pairs_hook=_without_repetition)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        form = "TOML" if is_toml else "JSON, which every file is whose name does not end in .toml"
        raise InputError(f"{flag}: {path} does not parse as {form}: {error}") from None
    except RecursionError:
        raise InputError(f"{flag}: {path} does not parse: it is nested too deeply") from None
    except ValueError as error:
        words = "a number has too many digits" if "digits" in str(error) else str(error)
        raise InputError(f"{flag}: {path}: {words}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{flag}: {path} must hold a table of settings, got a {type(loaded).__name__}")
    return loaded


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    repeated = [key for key in keys if keys.count(key) > 1]
    if repeated:
        raise ValueError(f"'{repeated[0]}' is given twice")
    return dict(pairs)


def option_hints(builder: Any, kind: str = "tabular") -> dict[str, Any]:
    """Types of the builder's options that a flag can carry."""
    return {name: option.hint for name, option in options.of(builder, kind).items() if options.is_plain(option.hint)}


def options_class(builder: Any, name: str, defaults: Mapping[str, Any], kind: str = "tabular") -> type:
    """A dataclass of the builder's options that a flag can carry, with the docstring's words as help."""
    fields = []
    lists = options.lists(builder, kind)
    for option, found in options.of(builder, kind).items():
        if options.is_plain(found.hint):
            flag = _as_list(found.hint) if option in lists else _as_flag(found.hint)
            described = operator.getitem(Annotated, (flag, tyro.conf.arg(help=found.words)))
            default = defaults.get(option, found.default)
            fields.append((option, described, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(name, fields, frozen=True)


def _as_list(hint: Any) -> Any:
    """The type of one number or several; None stays possible where it was."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)] or [hint]
    several = OneOrMore if float in parts else OneOrMoreWhole
    return several if type(None) not in typing.get_args(hint) else typing.Union.__getitem__((several, None))


def as_flags(settings: type) -> type:
    """A dataclass with the same fields, words and defaults, its numbers read by the rule for all numbers."""
    hints = typing.get_type_hints(settings)
    words = {name: option.words for name, option in options.of(settings).items()}
    fields = [
        (
            field.name,
            operator.getitem(Annotated, (_as_flag(hints[field.name]), tyro.conf.arg(help=words[field.name]))),
            dataclasses.field(default=field.default),
        )
        for field in dataclasses.fields(settings)
    ]
    return dataclasses.make_dataclass(settings.__name__, fields, frozen=True)


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
    seen: dict[str, str] = {}
    for key, value in loaded.items():
        name = key_of(key)
        if name in seen:
            raise InputError(f"--config: '{name}' is given twice, as '{seen[name]}' and as '{key}'")
        seen[name] = key
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
    several = options.lists(builder, kind)
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in hints:
            raise InputError(f"--config: unknown setting '{table}.{key}'{nearest(name, hints)}")
        if name in found:
            raise InputError(f"--config: '{table}.{name}' is given twice, with dashes and without")
        is_list = name in several and (isinstance(value, list | tuple) or _is_range(value))
        if is_list and not value:
            raise InputError(f"--config: {table}.{key}: the list is empty; give at least one number")
        whole = is_list and float not in (hints[name], *typing.get_args(hints[name]))
        several_of = tuple[int, ...] if whole else tuple[float, ...]
        found[name] = typed(f"{table}.{key}", value, several_of if is_list else hints[name])
    return found


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
        found = tuple(x for item in items for x in (expand(item) if _is_range(item) else [_real(item)]))
        if len(found) > MAX_LIST:
            raise ValueError(f"the list has {len(found):,} values; at most {MAX_LIST:,} may stand in one")
        return found
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
