"""Flags, configuration files and builder options: everything between argv and a resolved configuration."""

import dataclasses
import inspect
import json
import operator
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac._registry import resolve
from hfac.cli import InputError, nearest


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


def read_file(path: str, flag: str = "--config") -> dict[str, Any]:
    """A configuration file, TOML or JSON by its ending.

    Raises:
      InputError: if it cannot be read or is neither.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{flag}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{flag}: {path} is not UTF-8 text") from None
    try:
        loaded = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{flag}: {path} does not parse: {error}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{flag}: {path} must hold a table of settings, got a {type(loaded).__name__}")
    return loaded


def lookup(registry: Mapping[str, str], name: str, kind: str) -> Any:
    """A registry entry, imported.

    Raises:
      InputError: if there is none.
    """
    if name not in registry:
        raise InputError(f"unknown {kind} '{name}'{nearest(name, registry)}")
    return resolve(registry, name, kind)


def options_class(builder: Any, name: str, defaults: Mapping[str, Any]) -> type:
    """A dataclass of the builder's options that a flag can carry, with the docstring's words as help."""
    import docstring_parser

    hints = typing.get_type_hints(builder)
    words = {p.arg_name: p.description for p in docstring_parser.parse(builder.__doc__ or "").params}
    fields = []
    for option in inspect.signature(builder).parameters.values():
        if option.default is inspect.Parameter.empty or not _fits_a_flag(hints.get(option.name)):
            continue
        default = defaults.get(option.name, option.default)
        hint = operator.getitem(Annotated, (hints[option.name], tyro.conf.arg(help=words.get(option.name) or "")))
        fields.append((option.name, hint, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(name, fields, frozen=True)


def _fits_a_flag(hint: Any) -> bool:
    if typing.get_origin(hint) is typing.Literal or hint in (int, float, bool, str):
        return True
    parts = typing.get_args(hint)
    return bool(parts) and all(part is type(None) or part is Ellipsis or _fits_a_flag(part) for part in parts)


def apply_file(
    loaded: Mapping[str, Any], config: type, tables: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split a configuration file into plain settings and tables of options, names as in the dataclass.

    Raises:
      InputError: if a key is unknown.
    """
    hints = typing.get_type_hints(config, include_extras=True)
    known = {field.name for field in dataclasses.fields(config)}
    plain: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {name: {} for name in tables}
    for key, value in loaded.items():
        name = key.replace("-", "_")
        if name in nested and isinstance(value, dict):
            nested[name] = {k.replace("-", "_"): tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        elif name in known:
            plain[name] = _typed(key, value, hints[name])
        elif name != "provenance":
            raise InputError(f"--config: unknown setting '{key}'{nearest(key, [*known, *tables])}")
    return plain, nested


def _typed(key: str, value: Any, hint: Any) -> Any:
    from hfac.cli._values import numbers, whole

    base = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    try:
        if base == tuple[float, ...]:
            items = value if isinstance(value, list) else [value]
            return numbers([str(item) for item in items]) if items else ()
        if base is int:
            return whole(str(value))
        if Path in typing.get_args(base) and isinstance(value, str):
            return Path(value)
    except ValueError as error:
        raise InputError(f"--config: {key}: {error}") from None
    if base == tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise InputError(f"--config: {key}: '{value}' is no list")
        return tuple(str(item) for item in value)
    if not _is_kind(value, base):
        raise InputError(f"--config: {key}: {value!r} is not what this setting takes")
    return value


def _is_kind(value: Any, hint: Any) -> bool:
    """Whether a value from a file has a plain type."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return value in parts
    if parts:
        return any(_is_kind(value, part) for part in parts)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint) or hint is Path


def check_keys(given: Mapping[str, Any], options: type, table: str) -> None:
    """Raise `InputError` unless every key of a file's table is an option."""
    known = [field.name for field in dataclasses.fields(options)]
    for key in given:
        if key not in known:
            raise InputError(f"--config: unknown setting '{table}.{key}'{nearest(key, known)}")


def build(builder: Any, args: tuple[Any, ...], options: Any, kind: str) -> Any:
    """Call a builder with parsed options.

    Raises:
      InputError: if it refuses them.
    """
    try:
        return builder(*args, **dataclasses.asdict(options))
    except ValueError as error:
        raise InputError(f"--{kind}: {error}") from None
