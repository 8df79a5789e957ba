"""``hfac sweep PROBLEM``: run a method over seeds and schedules, judge it exactly, store and draw it."""

import contextlib
import dataclasses
import hashlib
import json
import operator
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import InputError, Stopped, _config, _folder, as_input_error, nearest, parse
from hfac.cli._commands import COMMANDS
from hfac.cli._request import Request
from hfac.cli._settings import (
    FIELDS,
    RATES,
    Checkpointing,
    Distribution,
    Execution,
    FromProblem,
    Lists,
    Output,
    setting_name,
)
from hfac.cli._values import Count
from hfac.problems import REGISTRY as PROBLEMS

DESCRIPTIONS = {
    "sweep": "Run a method over seeds and schedules on PROBLEM, judge every record exactly, store and draw it.",
    "tune": "Search for a method's settings on PROBLEM by successive halving, on seeds that are never reported.",
    "compare": "Tune methods alike on PROBLEM, run them on the same fresh seeds and samples, judge, tabulate, draw.",
    "rates": "Measure how fast gradients and residuals fall on PROBLEM, with intervals, beside the theory's exponents.",
    "diagnose": "Look at a run on PROBLEM: the theory's condition along it, the lower level, what limits it.",
    "plan": "Say what a sweep would cost, without running it: runs, bytes, compilations, expected time.",
}
FORGOTTEN = ("version", "corpus", "ratings", "pretrained", "run")  # what a path holds counts, not where it lies
MODEL_FILES = ("tokenizer.json", "model.safetensors")
TABLES = ("problem_options", "algorithm_options")


@dataclasses.dataclass(frozen=True)
class Method:
    """What is run."""

    algorithm: str = "hfac"
    """Method, one of `hfac.algorithms.REGISTRY`."""
    preset: Literal["recommended", "attenuating", "fixed"] | None = None
    """Schedules and method options to start from: recommended (found by search for this problem, the default where
    there are any), attenuating or fixed (the theory's powers, the paper's plain method)."""
    steps: Count = 1_000_000
    """Iterations of every run, >= 1."""
    seeds: Count = 16
    """Number of seeds, >= 1."""
    first_seed: Count = 0
    """The first seed; the others follow."""


@dataclasses.dataclass(frozen=True)
class Sweep(Output, Distribution, Checkpointing, Execution, Lists, Method):
    """Settings of a sweep; lists are crossed, every combination runs with every seed."""

    record: Literal["x", "tables"] = "x"
    """What is kept at every record point: x, or also all tracked policies and critics (`hfac diagnose` reads them)."""
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
    in_file = loaded.pop("problem", None)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else in_file
    description = DESCRIPTIONS[command]
    has_algorithm = any(field.name == "algorithm" for field in dataclasses.fields(config))
    usage = f"PROBLEM is one of: {', '.join(PROBLEMS)}. `hfac {command} PROBLEM --help` adds its options"
    usage += " and the method's. " if has_algorithm else ". "
    usage += "--config FILE (TOML or JSON) sets defaults that flags override."
    if name is None:
        if not any(arg in ("-h", "--help") for arg in rest):
            raise InputError(f"which problem? hfac {command} PROBLEM ...; there are {', '.join(PROBLEMS)}")
        parse(config, rest, f"hfac {command} PROBLEM", f"{description} {usage}")
        return None
    tables = TABLES if has_algorithm else TABLES[:1]
    plain, nested = _config.apply_file(loaded, config, tables)
    rest = _config.gathered(rest, config)
    builders = {"problem_options": _config.lookup(PROBLEMS, name, "problem")}
    defaults: dict[str, dict[str, Any]] = {table: {} for table in tables}
    if has_algorithm:
        algorithm = _config.take(list(rest), "--algorithm")[0] or plain.get("algorithm", "hfac")
        preset = _config.take(list(rest), "--preset")[0] or plain.get("preset")
        builders["algorithm_options"] = _config.lookup(ALGORITHMS, algorithm, "algorithm")
        if any(field.name == "preset" for field in dataclasses.fields(config)):
            defaults["algorithm_options"] = _algorithm_defaults(name, algorithm, preset)
    unprefixed = operator.getitem(tyro.conf.OmitArgPrefixes, config)
    fields: list[Any] = [("settings", unprefixed, dataclasses.field(default=config(**plain)))]
    switches = _config.switches_of(typing.get_type_hints(config))
    for table, builder in builders.items():
        given = _config.typed_table(table, nested[table], builder)
        options = _config.options_class(builder, table, defaults[table] | given)
        prefix = table.removesuffix("_options")
        switches |= _config.switches_of(_config.option_hints(builder), f"{prefix}.")
        flag = tyro.conf.arg(name=prefix)
        fields.append((table, operator.getitem(Annotated, (options, flag)), dataclasses.field(default=options())))
    _config.refuse_values_of_switches(rest, switches)
    full = dataclasses.make_dataclass("Settings", fields)
    parsed = parse(
        full, rest, f"hfac {command} {name}", f"{description} --config FILE sets defaults that flags override."
    )
    (check or check_sweep)(parsed.settings)
    return Request(name, *(getattr(parsed, field[0]) for field in fields))._replace(command=command)


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


def _algorithm_defaults(problem: str, algorithm: str, preset: str | None) -> dict[str, Any]:
    from hfac import recommended

    if preset in (None, "recommended") and recommended.is_known(problem, algorithm):
        return recommended.options(problem, algorithm)
    return {}


def check_sweep(settings: Any) -> None:
    """Raise `InputError` unless the settings are in range."""
    for name, least in (("steps", 1), ("seeds", 1), ("first_seed", 0), ("devices", 0), ("block_width", 0)):
        if getattr(settings, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(settings, name)}")
    if settings.steps >= 2**31 or settings.first_seed + settings.seeds > 2**31:
        raise InputError("--steps and every seed must be below 2**31")
    if any(not tau > 0 for tau in settings.judge):
        raise InputError(f"--judge must be positive, got {min(settings.judge):g}")
    _check_processes(settings)
    if not settings.checkpoint_minutes > 0:
        raise InputError(f"--checkpoint-minutes must be positive, got {settings.checkpoint_minutes:g}")
    with as_input_error():
        schedule_grid_axes(settings)


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
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise InputError(f"--shard must be I/N with 1 <= I <= N, such as 2/8, got {text}")
    return int(first), int(second)


def schedule_grid_axes(settings: Lists) -> dict[tuple[str, ...], list[tuple[float, ...]]]:
    """The lists among the schedule flags, paired where --zip says so: names -> rows of values.

    Raises:
      InputError: if a value is out of range, or a zip names a flag without a list or lists of unequal length.
    """
    _check_range("offset", "offset", settings.offset)
    lists: dict[str, tuple[float, ...]] = {}
    for rate in RATES:
        for field in FIELDS:
            flag = rate if field == "scale" else f"{rate}-{field}"
            values = getattr(settings, flag.replace("-", "_"))
            if field == "offset" and not values and len(settings.offset) == 1:
                values = settings.offset
            if values:
                _check_range(flag, field, values)
                lists[flag] = values
    groups = [tuple(setting_name(word).replace("_", "-") for word in group.split(",")) for group in settings.zip]
    zipped = [flag for group in groups for flag in group]
    for group in groups:
        if len(group) < 2:
            raise InputError(f"--zip {','.join(group)}: a group pairs at least two lists, as in --zip entropy,actor")
    for flag in zipped:
        if zipped.count(flag) > 1:
            raise InputError(f"--zip names '{flag}' twice; a list is paired once")
    if len(settings.offset) > 1:
        lists |= {f"{rate}-offset": settings.offset for rate in RATES}
        groups.append(tuple(f"{rate}-offset" for rate in RATES))
    axes: dict[tuple[str, ...], list[tuple[float, ...]]] = {}
    for group in groups:
        for flag in group:
            if flag not in lists:
                raise InputError(f"--zip: '{flag}' has no list of values{nearest(flag, lists) if lists else ''}")
        lengths = {len(lists[flag]) for flag in group}
        if len(lengths) > 1:
            raise InputError(f"--zip {','.join(group)}: the lists must have equal lengths, got {sorted(lengths)}")
        rows = list(zip(*(lists.pop(flag) for flag in group), strict=True))
        axes[tuple(_setting(flag) for flag in group)] = rows
    return axes | {(_setting(flag),): [(value,) for value in values] for flag, values in lists.items()}


def _setting(flag: str) -> str:
    rate, _, field = flag.partition("-")
    return f"{rate}.{field or 'scale'}"


def _check_range(flag: str, field: str, values: tuple[float, ...]) -> None:
    is_positive = field in ("scale", "offset")
    for value in values:
        if value < 0 or (is_positive and value == 0):
            raise InputError(f"--{flag} must be {'> 0' if is_positive else '>= 0'}, got {value:g}")
    if len(set(values)) < len(values):
        raise InputError(f"--{flag} lists a value twice")


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


def identity(request: Request) -> dict[str, Any]:
    """What a checkpoint must have in common with the run that goes on from it: all but what can grow or matters not."""
    import jax
    import jaxlib

    grows: tuple[str, ...] = ("command", "on_divergence", "block_width", *_folder.UNIMPORTANT)
    if isinstance(request.settings, Checkpointing):
        grows += ("seeds", "first_seed", "steps", "judge", "window")
    lists = {f"{rate}_{field}".removesuffix("_scale") for rate in RATES for field in FIELDS} | {"offset", "zip"}
    kept = {key: value for key, value in content(request).items() if key not in {*grows, *lists, *FORGOTTEN}}
    several = _config.listed(request.algorithm_options)  # a list can grow; its values are with the schedules
    if several:
        own = kept["algorithm_options"]
        kept["algorithm_options"] = {name: value for name, value in own.items() if name not in several}
    for key, value in vars(request.settings).items():
        if isinstance(value, Path) and key in FORGOTTEN and value.exists():
            kept[f"{key}_digest"] = _digest(value)
    return kept | {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "device": jax.devices()[0].platform}


def _digest(path: Path) -> str:
    """Digest of a file, or of the model in a folder: what it holds, wherever it lies."""
    files = [path] if path.is_file() else [file for file in map(path.joinpath, MODEL_FILES) if file.is_file()]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def work(request: Request, stem: str) -> Iterator[Path]:
    """The folder that a command writes to, its own until the end, with the configuration in it.

    Args:
      request: with every default filled in.
      stem: of the folder's name where none was asked for.

    Raises:
      InputError: if the folder cannot be had or holds something else.
    """
    if not request.processes.is_first:
        with _folder.reported(request.settings.out, True):
            yield request.settings.out
        return
    with contextlib.ExitStack() as stack:
        try:
            if not request.resumed:
                _folder.check_new(request.settings.out, content(request))
            folder = _folder.make(request.settings.out, stem)
            stack.enter_context(_folder.reported(folder, COMMANDS[request.command].goes_on))
            stack.enter_context(_folder.locked(folder))
            if not (folder / _folder.CONFIG).exists():
                _folder.write_config(folder, content(request))
        except (InputError, OSError):
            _tell_others_to_stop(request)
            raise
        try:
            yield folder
        except KeyboardInterrupt as stop:
            if str(stop) or not COMMANDS[request.command].goes_on:
                raise
            raise Stopped(f"interrupted; `hfac resume {folder}` goes on from there") from None


def keep_growth(request: Request, folder: Path) -> bool:
    """Write the configuration of a run that was made larger, once nothing speaks against it; whether it was."""
    if not _folder.differences(_folder.read_config(folder), content(request)):
        return False
    _folder.write_config(folder, content(request))
    return True


def _tell_others_to_stop(request: Request) -> None:
    out = request.settings.out
    if request.processes.count > 1 and out is not None and out.is_dir():
        from hfac.cli import _processes

        _processes.answer(out, request.processes, "stop")
