"""A run's configuration: the flat table that config.json holds, which lists it crosses, and what of it may change."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfac._errors import InputError, nearest
from hfac.runs._folder import BY_CONTENT, TABLES, UNIMPORTANT, differences
from hfac.settings import RATE_SETTINGS, RATES, SettingName, find

LISTS = (*(name.key for name in RATE_SETTINGS), "offset")  # numbers of the schedules; lists of them are crossed
GROWS = ("steps", "seeds", "first_seed", "judge", "window", "on_divergence")  # beside lists
FORGOTTEN = ("version", *BY_CONTENT)
MODEL_FILES = ("tokenizer.json", "model.safetensors")

Axes = dict[tuple[str, ...], list[tuple[float, ...]]]  # paths of settings that go together -> rows of values


def schedule_axes(configuration: Mapping[str, Any]) -> Axes:
    """The numbers of the schedules, paired where `zip` says so.

    Raises:
      InputError: if a value is out of range, or a zip names a setting without a list or lists of unequal length.
    """
    offsets = tuple(configuration.get("offset") or ())
    _check_range("offset", "offset", offsets)
    lists: dict[SettingName, tuple[float, ...]] = {}
    for name in RATE_SETTINGS:
        values = tuple(configuration.get(name.key) or ())
        if name.field == "offset" and not values and len(offsets) == 1:
            values = offsets
        if values:
            _check_range(name.flag, name.field, values)
            lists[name] = values
    groups = [tuple(_zipped(word, lists) for word in group.split(",")) for group in configuration.get("zip") or ()]
    together = [name for group in groups for name in group]
    for group in groups:
        if len(group) < 2:
            raise InputError(f"--zip {_words(group)}: a group pairs at least two lists, as in --zip entropy,actor")
    for name in together:
        if together.count(name) > 1:
            raise InputError(f"--zip names '{name.flag}' twice; a list is paired once")
    if len(offsets) > 1:
        each = tuple(name for name in (SettingName(rate, "offset") for rate in RATES) if name not in lists)
        lists |= dict.fromkeys(each, offsets)
        groups += [each] if each else []
    axes: Axes = {}
    for group in groups:
        for name in group:
            if name not in lists:
                hint = nearest(name.flag, [each.flag for each in lists]) if lists else ""
                raise InputError(f"--zip: '{name.flag}' has no list of values{hint}")
        lengths = {len(lists[name]) for name in group}
        if len(lengths) > 1:
            raise InputError(f"--zip {_words(group)}: the lists must have equal lengths, got {sorted(lengths)}")
        axes[tuple(name.path for name in group)] = list(zip(*(lists.pop(name) for name in group), strict=True))
    return axes | {(name.path,): [(value,) for value in values] for name, values in lists.items()}


def _words(group: Sequence[SettingName]) -> str:
    return ",".join(name.flag for name in group)


def _zipped(word: str, lists: Collection[SettingName]) -> SettingName:
    name = find(word)
    if word == "offset":
        raise InputError("--zip: offset is one list for all five rates, paired already; zip entropy-offset and others")
    if name is None or name.owner not in RATES:
        hint = nearest(word, [each.flag for each in lists]) if lists else ""
        raise InputError(f"--zip: '{word}' has no list of values{hint}")
    return name


def _check_range(flag: str, field: str, values: Sequence[float]) -> None:
    is_positive = field in ("scale", "offset")
    for value in values:
        if value < 0 or (is_positive and value == 0):
            raise InputError(f"--{flag} must be {'> 0' if is_positive else '>= 0'}, got {value:g}")
    if len(set(values)) < len(values):
        raise InputError(f"--{flag} lists a value twice")


def option_axes(owner: str, given: Mapping[str, Any], numbers: Collection[str]) -> tuple[dict[str, Any], Axes]:
    """Options with the first value of every list of numbers among them, and the lists.

    Args:
      owner: of the options.
      given: options by name.
      numbers: names of those that may be lists.

    Raises:
      InputError: if a list holds a value twice, or none.
    """
    first = dict(given)
    axes: Axes = {}
    for name, values in given.items():
        if name not in numbers or not isinstance(values, list | tuple):
            continue
        setting = SettingName(owner, name)
        if not values:
            raise InputError(f"--{setting.flag}: the list is empty; give at least one number")
        if len(set(values)) < len(values):
            raise InputError(f"--{setting.flag} lists a value twice")
        first[name] = values[0]
        if len(values) > 1:
            axes[(setting.path,)] = [(value,) for value in values]
    return first, axes


def identity(
    configuration: Mapping[str, Any], lists: Collection[str] = (), grows: Collection[str] = GROWS
) -> dict[str, Any]:
    """What a checkpoint must have in common with the run that goes on from it: all but what can grow or matters not.

    Args:
      configuration: of the run.
      lists: keys of options that are dimensions of the run, such as "algorithm_options.pen_rate".
      grows: settings that may change from one start to the next.
    """
    import jax
    import jaxlib

    left_out = {"command", "on_divergence", "block_width", "zip", *UNIMPORTANT, *LISTS, *FORGOTTEN, *grows}
    kept = {key: value for key, value in configuration.items() if key not in left_out}
    for table in TABLES:  # a list can grow; its values are with the schedules, or make another problem
        if isinstance(kept.get(table), Mapping):
            dropped = {*BY_CONTENT, *(key.removeprefix(f"{table}.") for key in lists)}
            kept[table] = {name: value for name, value in kept[table].items() if name not in dropped}
    tables = [configuration, *(configuration.get(table) or {} for table in TABLES)]
    for key, value in ((key, value) for table in tables for key, value in table.items() if key in BY_CONTENT):
        if value is not None and Path(value).exists():
            kept[f"{key}_digest"] = _digest(Path(value))
    return kept | {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "device": jax.devices()[0].platform}


def _digest(path: Path) -> str:
    """Digest of a file, or of the model in a folder: what it holds, wherever it lies."""
    files = [path] if path.is_file() else [file for file in map(path.joinpath, MODEL_FILES) if file.is_file()]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def check_growth(old: Mapping[str, Any], new: Mapping[str, Any], numbers: Collection[str] = ()) -> None:
    """Raise `InputError` unless the new configuration has room for the old one.

    Args:
      old: the configuration that the run has.
      new: the one it is to have.
      numbers: keys of options that may be lists.
    """
    changed = {words.partition(" ")[0] for words in differences(old, new)} - {"version", *GROWS}
    lists = {*LISTS, *(key for key in numbers if len(_at(old, key)) > 1)}
    fixed = sorted(changed - lists)
    if fixed:
        raise InputError(f"a run keeps its {', '.join(fixed)}; only seeds, steps and lists can grow")
    if new["steps"] < old["steps"]:
        raise InputError(f"--steps can only grow: the run has {old['steps']:,}, got {new['steps']:,}")
    first, last = old["first_seed"], old["first_seed"] + old["seeds"]
    if new["first_seed"] > first or new["first_seed"] + new["seeds"] < last:
        raise InputError(
            f"--seeds can only grow: the run has {first} to {last - 1}, "
            f"got {new['first_seed']} to {new['first_seed'] + new['seeds'] - 1}"
        )
    for key in sorted(changed & lists):
        name = find(key)
        flag = key if name is None else name.flag
        held, wanted = ([float(value) for value in _at(config, key)] for config in (old, new))
        if len(held) < 2:
            raise InputError(f"--{flag} is no list in this run; only lists can grow")
        if not set(held) <= set(wanted):
            raise InputError(f"--{flag} must hold what it held: {', '.join(map('{:g}'.format, held))}")


def regrouped(held: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """The groups of lists that go together once a run has grown: its own, and those that are new."""
    known = {frozenset(map(find, group.split(","))) for group in held}
    return (*held, *(group for group in given if frozenset(map(find, group.split(","))) not in known))


def _at(configuration: Mapping[str, Any], key: str) -> Sequence[Any]:
    """A list, or an option of a table as one."""
    table, _, name = key.rpartition(".")
    found = ((configuration.get(table) or {}) if table else configuration).get(name)
    if found is None:
        return ()
    return found if isinstance(found, list | tuple) else [found]


def from_settings(settings: Mapping[str | tuple[str, ...], Any]) -> dict[str, Any]:
    """Numbers of the schedules, named as for `hfac.schedules.grid` or in short, as the flat table holds them.

    Args:
      settings: a number or a list by name, or rows of numbers by a tuple of names: those go together.

    Raises:
      InputError: if a name is no setting.
    """
    if not isinstance(settings, Mapping):
        raise InputError(f"settings must be a table of numbers or lists by name, got {settings!r}")
    flat: dict[str, Any] = {}
    groups: list[str] = []
    for words, values in settings.items():
        asked = (words,) if isinstance(words, str) else words
        if not (isinstance(asked, tuple) and asked and all(isinstance(word, str) for word in asked)):
            raise InputError(f"a setting is called by a text, or several by a tuple of them, got {words!r}")
        names = [_rate_setting(word) for word in asked]
        is_list = hasattr(values, "__len__") and np.ndim(values) > 0
        rows = values if is_list else [values]
        if not len(rows):
            raise InputError(f"the list for {words} is empty; give at least one number")
        if not isinstance(words, str) and any(np.shape(row) != (len(names),) for row in rows):
            raise InputError(f"settings {', '.join(names)} go together: a row has {len(names)} numbers, got {values!r}")
        columns = [rows] if isinstance(words, str) else list(zip(*rows, strict=True))
        for word, key, column in zip(asked, names, columns, strict=True):
            if key in flat:
                raise InputError(f"setting '{key}' is given twice")
            flat[key] = tuple(_number(word, value) for value in column)
        if len(names) > 1:
            groups.append(",".join(names))
    return flat | {"zip": tuple(groups)}


def _number(name: str, value: Any) -> float:
    if isinstance(value, str | bool):
        raise InputError(f"setting {name}: {value!r} is no number")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"setting {name}: {value!r} is no number that fits") from None


def _rate_setting(word: str) -> str:
    name = find(word)
    if word == "offset":
        return word
    if name is None or name.owner not in RATES:
        known = [each.path for each in RATE_SETTINGS]
        raise InputError(f"unknown setting '{word}'{nearest(word, known)}")
    return name.key
