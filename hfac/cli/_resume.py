"""``hfac resume DIR`` and ``hfac extend DIR``: go on with a run that was stopped, or make a run larger."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from hfac import _files
from hfac._registry import load
from hfac.cli import InputError, _config, _folder, as_input_error, nearest, parse
from hfac.cli._commands import COMMANDS
from hfac.cli._request import Request
from hfac.cli._settings import FIELDS, RATES
from hfac.cli._sweep import content
from hfac.cli._tune import RUNS_PAID_FOR
from hfac.cli._values import Count

ONCE = "PROBLEM, --out and --config stay as they are"
GROWING = ("steps", "seeds", "first_seed", "judge", "window", "on_divergence")


@dataclasses.dataclass(frozen=True)
class Resume:
    """Settings that change no number."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a run."""
    devices: Count | None = None
    """Devices to use; 0 takes all."""
    checkpoint_minutes: float | None = None
    """Longest time between checkpoints, > 0."""
    figures: bool = True
    """Draw the figures, if the run was to draw them."""
    quiet: bool = False
    """Print errors only."""


def resume(args: Sequence[str]) -> None:
    """Run ``hfac resume``: go on where a run stopped; one that never began begins."""
    settings = parse(
        Resume, args, "hfac resume", "Go on with a run that was stopped; its numbers are those of a run that was not."
    )
    go_on(settings)


def go_on(settings: Resume) -> None:
    """Go on with the run in a folder."""
    stored = _folder.read_config(settings.dir)
    chosen: dict[str, Any] = {}
    for name in ("devices", "checkpoint_minutes"):
        if getattr(settings, name) is not None and name in stored:
            chosen[name] = getattr(settings, name)
    chosen["figures"] = settings.figures and stored.get("figures", True)
    chosen["quiet"] = settings.quiet or stored.get("quiet", False)
    _execute(settings.dir, stored | chosen, [])


def extend(args: Sequence[str]) -> None:
    """Run ``hfac extend``: more seeds, steps or configurations; what is there stays as it is."""
    rest = list(args)
    if not rest or rest[0] in ("-h", "--help"):
        print(
            "usage: hfac extend DIR [--seeds N] [--first-seed N] [--steps N] [lists of the sweep, such as --tau X ...]"
            "\n\nAdd seeds, steps or configurations to a run. Every value that is there stays as it is; a list must "
            f"hold the values it\nheld before. Other flags are those of the run's own command; {ONCE}."
        )
        return
    if rest[0].startswith("-"):
        raise InputError("which run? hfac extend DIR ...")
    with as_input_error():
        folder = _files.place(rest.pop(0))
    for flag in ("--out", "--config", "--algorithm", "--preset"):
        if _config.take(list(rest), flag)[0] is not None:
            raise InputError(f"{flag}: an extended run keeps its own; {ONCE}")
    _execute(folder, _folder.read_config(folder), rest)


def _execute(folder: Path, stored: Mapping[str, Any], args: list[str]) -> None:
    request = request_of(stored, args)
    command = request.command
    settings = dataclasses.replace(request.settings, out=folder)
    request = request._replace(settings=settings, resumed=True)
    new, old = content(request), content(request_of(_folder.read_config(folder)))
    (_check_search if command == "tune" else _check_growth)(old, new)
    load(COMMANDS[command].run)(request)


def request_of(stored: Mapping[str, Any], args: Sequence[str] = ()) -> Request:
    """The request of a stored configuration, flags overriding it.

    Raises:
      InputError: if its command cannot go on, or something in it is wrong.
    """
    command = str(stored["command"])
    able = [name for name, each in COMMANDS.items() if each.goes_on]
    if command not in able:
        raise InputError(f"a run of `hfac {command}` cannot go on{nearest(command, able)}")
    module = COMMANDS[command].parse.partition(":")[0]
    return load(f"{module}:request")(list(args), stored)


def _check_search(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the new search is the old one with more rounds of the same budget."""
    changed = {words.partition(" ")[0] for words in _folder.differences(old, new)} - {"version", "rounds", "budget"}
    if changed:
        raise InputError(f"a search keeps its {', '.join(sorted(changed))}; only rounds and the budget can grow")
    before, now = (config["budget"] or RUNS_PAID_FOR * config["samples"] for config in (old, new))
    if new["rounds"] < old["rounds"]:
        raise InputError(f"--rounds can only grow: the search has {old['rounds']}, got {new['rounds']}")
    if now * old["rounds"] != before * new["rounds"]:
        need = before * new["rounds"] / old["rounds"]
        raise InputError(f"--rounds {new['rounds']} needs --budget {need:.10g}: as much a round as before; got {now:,}")


def _at(config: Mapping[str, Any], key: str) -> Any:
    """A setting, or an option of a table."""
    table, _, name = key.rpartition(".")
    found = (config[table] if table else config)[name]
    return found if isinstance(found, list | tuple) or found is None else [found]


def _check_growth(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the new configuration has room for the old one."""
    lists = {f"{rate}_{field}".removesuffix("_scale") for rate in RATES for field in FIELDS} | {"offset"}
    changed = {words.partition(" ")[0] for words in _folder.differences(old, new)} - {"version", *GROWING}
    options = old.get("algorithm_options") or {}
    lists |= {f"algorithm_options.{name}" for name, value in options.items() if isinstance(value, list | tuple)}
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
        held, wanted = ([float(value) for value in _at(config, key) or ()] for config in (old, new))
        if len(held) < 2:
            raise InputError(f"--{key.replace('_', '-')} is no list in this run; only lists can grow")
        if not set(held) <= set(wanted):
            raise InputError(f"--{key.replace('_', '-')} must hold what it held: {', '.join(map('{:g}'.format, held))}")
