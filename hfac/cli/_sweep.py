"""``hfac sweep PROBLEM``: run a method over seeds and schedules, judge it exactly, store and draw it."""

import dataclasses
import json
import operator
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import tyro

from hfac import _places, options
from hfac._errors import InputError, as_input_error
from hfac._registry import find
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import _config, parse
from hfac.cli._commands import COMMANDS
from hfac.cli._request import Request
from hfac.cli._settings import Checkpointing, Distribution, Execution, FromProblem, Lists, Output
from hfac.cli._values import Count
from hfac.problems import REGISTRY as PROBLEMS
from hfac.settings import OWN, TABLES, SettingName, only_in_python


@dataclasses.dataclass(frozen=True)
class Method:
    """What is run."""

    algorithm: str = "hfac"
    """Method, one of `hfac.algorithms.REGISTRY`, or your own: FILE.py:BUILDER."""
    preset: Literal["recommended", "attenuating", "fixed"] | None = None
    """Schedules and method options to start from: recommended (found by search for this problem and method, the default
    where there are any), attenuating or fixed (the theory's powers, the paper's plain method)."""
    steps: Count = 1_000_000
    """Iterations of every run, >= 1."""
    seeds: Count = 16
    """Number of seeds, >= 1."""
    first_seed: Count = 0
    """The first seed; the others follow."""


@dataclasses.dataclass(frozen=True)
class Sweep(Output, Distribution, Checkpointing, Execution, Lists, Method):
    """Settings of a sweep; lists are crossed, every combination runs with every seed."""

    record: Literal["x", "tables", "policies"] = "x"
    """What is kept at every record point: x, or also all policies and critics of a table (`hfac diagnose` reads them),
    or also the parameters of all policies (`hfac render` reads them)."""
    judge: FromProblem = ()
    """Entropy weights tau at which x is judged exactly, > 0."""


def request(args: Sequence[str], stored: Mapping[str, Any] | None = None) -> Request | None:
    """The command's request, or None after the general help; flags override what is stored."""
    return resolve(list(args), "sweep", stored=stored)


def resolve(
    args: list[str],
    command: str,
    config: type = Sweep,
    check: Callable[[Any], None] | None = None,
    stored: Mapping[str, Any] | None = None,
) -> Request | None:
    """Parse all that needs no run, or return None after the general help.

    Args:
      args: the command's arguments.
      command: its name.
      config: dataclass of its settings; one with a field `algorithm` also takes that method's options.
      check: raises `InputError` if the settings are wrong; that of a sweep unless given.
      stored: settings that flags override, as a configuration file would give them.

    Raises:
      InputError: if something is wrong with it.
    """
    path, rest = _config.take(args, "--config")
    loaded = loadable(dict(stored or {}) | ({} if path is None else _config.read_file(path)), config)
    for kind in only_in_python(loaded):
        raise InputError(f"--config: the {kind} of this run is in no registry: hfac.runs.start runs it in Python")
    loaded = {key: value for key, value in loaded.items() if key not in OWN.values()}
    if stored is not None and rest and not rest[0].startswith("-"):
        raise InputError(f"what is '{rest[0]}'? after the folder come options, such as --steps N")
    in_file = _places.placed(loaded.pop("problem", None))
    name = _places.placed(rest.pop(0)) if rest and not rest[0].startswith("-") else in_file
    if in_file not in (None, name) and loaded.get("problem_options"):
        raise InputError(f"--config: [problem_options] are of {in_file}, not of {name}")
    description = COMMANDS[command].description
    has_algorithm = any(field.name == "algorithm" for field in dataclasses.fields(config))
    usage = f"PROBLEM is one of: {', '.join(PROBLEMS)}, or your own: FILE.py:BUILDER. "
    usage += f"`hfac {command} PROBLEM --help` adds its options"
    usage += " and the method's. " if has_algorithm else ". "
    usage += "--config FILE (TOML or JSON) sets defaults that flags override."
    if name is None:
        if not any(arg in ("-h", "--help") for arg in rest):
            raise InputError(f"which problem? hfac {command} PROBLEM ...; there are {', '.join(PROBLEMS)}")
        parse(config, rest, f"hfac {command} PROBLEM", f"{description} {usage}")
        return None
    tables = TABLES if has_algorithm else TABLES[:1]
    plain, nested = _config.apply_file(loaded, config, tables)
    builders = {"problem_options": find(PROBLEMS, name, "problem")}
    kind = options.kind_of(builders["problem_options"])
    if kind != "tabular" and not COMMANDS[command].takes_any_kind:
        raise InputError(f"hfac {command} needs a tabular problem, and {name} is none")
    known = {field.name for field in dataclasses.fields(config)}
    own = getattr(builders["problem_options"], "defaults", {}) if config is Sweep else {}
    plain = {key: value for key, value in own.items() if key in known} | plain
    defaults: dict[str, dict[str, Any]] = {table: {} for table in tables}
    if has_algorithm:
        algorithm = _places.placed(_config.last(rest, "--algorithm") or plain.get("algorithm", "hfac"))
        if _places.is_place(algorithm) and not issubclass(config, Method):
            raise InputError(
                f"--algorithm: hfac {command} takes methods of the library, got {_places.short(algorithm)}"
            )
        preset = _config.last(rest, "--preset") or plain.get("preset")
        builders["algorithm_options"] = find(ALGORITHMS, algorithm, "algorithm")
        if any(field.name == "preset" for field in dataclasses.fields(config)):
            environment = _config.last(rest, "--problem.environment")
            of_problem = nested["problem_options"] | ({} if environment is None else {"environment": environment})
            defaults["algorithm_options"] = _algorithm_defaults(name, algorithm, preset, of_problem)
    unprefixed = operator.getitem(tyro.conf.OmitArgPrefixes, config)
    fields: list[Any] = [("settings", unprefixed, dataclasses.field(default=config(**plain)))]
    switches = _config.switches_of(typing.get_type_hints(config))
    lists = _config.list_flags(config)
    for table, builder in builders.items():
        given = _config.typed_table(table, nested[table], builder, kind)
        chosen = _config.options_class(builder, table, defaults[table] | given, kind)
        prefix = table.removesuffix("_options")
        lists |= {f"--{SettingName(prefix, option).flag}" for option in options.lists(builder, kind)}
        switches |= _config.switches_of(_config.option_hints(builder, kind), f"{prefix}.")
        flag = tyro.conf.arg(name=prefix)
        fields.append((table, operator.getitem(Annotated, (chosen, flag)), dataclasses.field(default=chosen())))
    rest = _config.gathered(rest, lists)
    _config.refuse_values_of_switches(rest, switches)
    full = dataclasses.make_dataclass("Settings", fields)
    parsed = parse(
        full, rest, f"hfac {command} {name}", f"{description} --config FILE sets defaults that flags override."
    )
    (check or check_sweep)(parsed.settings)
    return Request(name, *(_with_places(getattr(parsed, field[0])) for field in fields))._replace(command=command)


def _with_places(settings: Any) -> Any:
    """Settings in which FILE.py:NAME is found from every folder."""
    return dataclasses.replace(
        settings, **{name: _places.placed(value) for name, value in vars(settings).items() if isinstance(value, str)}
    )


def loadable(loaded: dict[str, Any], config: type) -> dict[str, Any]:
    """A file's content less what says where it comes from, and less settings of other commands that say nothing.

    Raises:
      InputError: if these are not what they should be.
    """
    for key in ("command", "version", "problem"):
        value = loaded.get(key, "")
        if isinstance(value, dict):
            raise InputError(f"--config: [{key}] is no table; options of the {key} stand in [{key}_options]")
        if not isinstance(value, str):
            raise InputError(f"--config: {key}: {json.dumps(value)} is no name")
    known = {field.name for field in dataclasses.fields(config)}
    silent = {field.name: field.default for field in dataclasses.fields(Sweep) if field.name not in known}
    without = [key for key, value in loaded.items() if key in silent and value == silent[key]]
    return {key: value for key, value in loaded.items() if key not in ("command", "version", *without)}


def _algorithm_defaults(
    problem: str, algorithm: str, preset: str | None, problem_options: dict[str, Any]
) -> dict[str, Any]:
    from hfac import runs

    return runs.default_options(problem, algorithm, preset, problem_options)


def check_sweep(settings: Any) -> None:
    """Raise `InputError` unless the settings are in range."""
    for name, least in (("steps", 1), ("seeds", 1), ("first_seed", 0), ("devices", 0), ("block_width", 0)):
        if getattr(settings, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(settings, name)}")
    if settings.steps >= 2**31 or settings.first_seed + settings.seeds > 2**31:
        raise InputError("--steps and every seed must be below 2**31")
    if any(not tau > 0 for tau in settings.judge):
        raise InputError(f"--judge must be positive, got {min(settings.judge):g}")
    if len(set(settings.judge)) < len(settings.judge):
        raise InputError("--judge lists a value twice")
    _check_processes(settings)
    if not settings.checkpoint_minutes > 0:
        raise InputError(f"--checkpoint-minutes must be positive, got {settings.checkpoint_minutes:g}")
    from hfac import runs

    with as_input_error():
        runs.schedule_axes(vars(settings))


def _check_processes(settings: Any) -> None:
    """Raise `InputError` unless shares and processes are described completely."""
    if not hasattr(settings, "shard"):
        return
    if settings.shard is not None:
        share(settings.shard)
    given = [settings.coordinator, settings.num_processes, settings.process_id]
    if any(value is not None for value in given) and any(value is None for value in given):
        raise InputError("--coordinator, --num-processes and --process-id go together; --distributed finds them itself")
    if settings.num_processes is not None and not 0 <= settings.process_id < settings.num_processes:  # type: ignore[operator]
        raise InputError(
            f"--process-id must lie in [0, --num-processes = {settings.num_processes}), got {settings.process_id}"
        )
    if settings.distributed or settings.coordinator is not None:
        if settings.out is None:
            raise InputError("several processes need --out, a folder that all of them see")
        if settings.shard is not None:
            raise InputError("--shard is for processes that do not know each other; leave out --distributed")


def share(text: str) -> tuple[int, int]:
    """I and N of a share I/N.

    Raises:
      InputError: unless they are whole numbers with 1 <= I <= N.
    """
    first, _, second = text.partition("/")
    if not (text.isascii() and first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise InputError(f"--shard must be I/N with 1 <= I <= N, such as 2/8, got {text}")
    return int(first), int(second)


def content(request: Request) -> dict[str, Any]:
    """The resolved configuration as it is written; ``hfac COMMAND --config`` reproduces the run from it."""
    from hfac import __version__

    elsewhere = ("out", "distributed", "coordinator", "num_processes", "process_id")  # of this start alone
    plain = {key: value for key, value in dataclasses.asdict(request.settings).items() if key not in elsewhere}
    found = {"command": request.command, "version": __version__, "problem": request.problem, **plain}
    for table in TABLES:
        if getattr(request, table) is not None:
            found[table] = dataclasses.asdict(getattr(request, table))
    return found
