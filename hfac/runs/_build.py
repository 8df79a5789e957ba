"""From names, options and numbers, or from a configuration that was stored, to a job that is ready to run."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from hfac import _checks, _files, algorithms, engine, metrics, options, problems, recommended, schedules
from hfac._compiler import random
from hfac._compiler.jaxpr import is_tracing
from hfac._errors import InputError, as_input_error, nearest
from hfac._progress import progress
from hfac._registry import find
from hfac.runs import _configuration, _own, _policies
from hfac.runs._folder import BY_CONTENT, OWN, TABLES
from hfac.runs._job import Job, Variant
from hfac.schedules import Coordinates, Grid, Schedules
from hfac.settings import JUDGE, LEAST_JUDGED, METHOD, PROBLEM
from hfac.types import Algorithm, PyTree

Record = Literal["x", "tables", "policies"]
Preset = Literal["recommended", "attenuating", "fixed"]


def job(
    problem: Any,
    algorithm: str | Callable[..., Algorithm] = "hfac",
    *,
    settings: Mapping[str | tuple[str, ...], Any] | None = None,
    steps: int = 1_000_000,
    seeds: int = 16,
    first_seed: int = 0,
    judge: float | tuple[float, ...] = (),
    record: Record = "x",
    preset: Preset | None = None,
    problem_options: Mapping[str, Any] | None = None,
    algorithm_options: Mapping[str, Any] | None = None,
) -> Job:
    """A sweep that can be stored.

    Args:
      problem: a name of `hfac.problems.REGISTRY`, or a problem of your own.
      algorithm: a name of `hfac.algorithms.REGISTRY`, or a builder ``(problem, **options) -> Algorithm``.
      settings: numbers of the schedules, such as ``{"entropy": [0.01, 0.03], "upper": 0.002}``; lists are crossed, and
        ``("entropy", "actor"): [(0.01, 2.0), (0.03, 4.0)]`` pairs them.
      steps: iterations of every run, >= 1.
      seeds: number of seeds, >= 1.
      first_seed: the first; the others follow.
      judge: entropy weights at which x is judged, > 0; the problem's own, or 0.003, unless given.
      record: what record points keep: x, or also all tracked tables, policies and critics, or also the parameters of
        all tracked policies, which `recorded` gives back.
      preset: of schedules and options; recommended where there are any, else attenuating.
      problem_options: of a named problem; a list for a number is a dimension of the results.
      algorithm_options: of the method; so is a list for a number that may differ between runs.

    Raises:
      ValueError: if something is unknown or out of range.
    """
    if is_tracing():
        raise InputError("a job is made on the host: call this outside of jit, grad and vmap")
    _check_types(problem, algorithm, record, preset, problem_options, algorithm_options)
    own_problem = None if isinstance(problem, str) else problem
    own_method = None if isinstance(algorithm, str) else algorithm
    if own_problem is not None and problem_options:
        raise InputError(f"problem_options are of named problems, got {', '.join(problem_options)} beside a problem")
    name = problem if own_problem is None else _name(own_problem)
    method = algorithm if isinstance(algorithm, str) else _name(algorithm)
    problem_options, algorithm_options = _plain(problem_options or {}), _plain(algorithm_options or {})
    configuration: dict[str, Any] = {
        "command": "sweep",
        "version": _version(),
        "problem": name,
        "algorithm": method,
        "preset": preset,
        "steps": _plain(steps),
        "seeds": _plain(seeds),
        "first_seed": _plain(first_seed),
        "judge": _weights(judge),
        "record": record,
        "deterministic": False,
        **_configuration.from_settings(settings or {}),
        "problem_options": _all_options(problems.REGISTRY, name, "problem", problem_options or {}),
        **({} if own_problem is None else {OWN["problem"]: True}),
        **({} if own_method is None else {OWN["algorithm"]: True}),
        "algorithm_options": dict(algorithm_options or {}),
    }
    if own_problem is None and own_method is None:
        configuration["algorithm_options"] = default_options(name, method, preset) | configuration["algorithm_options"]
    for table in TABLES:
        for option, value in configuration[table].items():
            if not _can_be_written(value):
                raise InputError(f"{table}: {option} cannot be written down; let a builder of your own give it")
    if own_problem is not None:
        configuration["problem_options"] = None
    elif own_method is None:
        kind = options.kind_of(find(problems.REGISTRY, name, "problem"))
        chosen = configuration["algorithm_options"]
        configuration["algorithm_options"] = _all_options(algorithms.REGISTRY, method, "algorithm", chosen, kind)
    return build(configuration, own_problem, own_method)


def _check_types(problem: Any, algorithm: Any, record: Any, preset: Any, *tables: Any) -> None:
    """Raise `InputError` unless the arguments of a job are what they can be."""
    if not (isinstance(problem, str) or (hasattr(problem, "init_x") and hasattr(problem, "name"))):
        call = "; call it" if callable(problem) else ""
        raise InputError(f"problem must be a name of hfac.problems.REGISTRY or a problem, got {problem!r}{call}")
    if not (isinstance(algorithm, str) or callable(algorithm)):
        raise InputError(f"algorithm must be a name of hfac.algorithms.REGISTRY or a builder, got {algorithm!r}")
    if not (isinstance(algorithm, str) or _checks.takes(algorithm, 1)):
        raise InputError(f"a builder of an algorithm takes the problem first, got {algorithm!r}")
    for name, value, known in (("record", record, get_args(Record)), ("preset", preset, (None, *get_args(Preset)))):
        if value not in known:
            raise InputError(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}")
    for name, table in zip(TABLES, tables, strict=True):
        if not isinstance(table, Mapping | None):
            raise InputError(f"{name} must be a table of options by name, got {table!r}")


def _weights(judge: Any) -> tuple[float, ...]:
    """Entropy weights as a tuple; their range is checked later."""
    try:
        return tuple(np.atleast_1d(np.asarray(judge, float)).tolist())
    except (TypeError, ValueError):
        raise InputError(f"judge must be one or more entropy weights > 0, got {judge!r}") from None


def _all_options(
    registry: Mapping[str, str], name: str, kind_of_thing: str, given: Mapping[str, Any], kind: str = "tabular"
) -> dict[str, Any]:
    """Options that can be written down, those that are not given at their defaults."""
    if any(not isinstance(option, str) for option in given):
        raise InputError(f"{kind_of_thing}_options must be options by name, got {dict(given)}")
    if name not in registry:
        return dict(given)
    own = options.of(find(registry, name, kind_of_thing), kind)
    for option in given.keys() - own.keys():
        raise InputError(f"--{kind_of_thing}: {name} has no option '{option}'{nearest(option, sorted(own))}")
    plain = {option: found.default for option, found in own.items() if options.is_plain(found.hint)}
    with as_input_error(f"--{kind_of_thing}: "):
        return plain | {option: _typed(option, value, own) for option, value in given.items()}


def _typed(option: str, value: Any, own: Mapping[str, Any]) -> Any:
    """The value of an option as its type; a list for a number holds such numbers."""
    hint = own[option].hint
    if hint in (int, float) and isinstance(value, list | tuple):
        return tuple(_checks.option(option, each, hint) for each in value)
    return _checks.option(option, value, hint)


def _plain(value: Any, name: str = "") -> Any:
    """NumPy's and jax's numbers as Python's, and paths where they are."""
    if isinstance(value, Mapping):
        return {key: _plain(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(each, name) for each in value)
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return _plain(np.asarray(value).tolist(), name) if np.ndim(value) < 2 else value
    return _files.place(value) if name in BY_CONTENT and isinstance(value, str | Path) else value


def _can_be_written(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_can_be_written, value))
    return value is None or isinstance(value, bool | int | float | str | Path)


def _version() -> str:
    from hfac import __version__

    return __version__


def build(
    configuration: Mapping[str, Any],
    problem: Any = None,
    method: Callable[..., Algorithm] | None = None,
    folder: Path | None = None,
    quiet: bool = True,
) -> Job:
    """The job that a configuration describes.

    Args:
      configuration: as config.json holds it.
      problem: that it is about, where it is not a named one.
      method: builder of the method, where it is not a named one.
      folder: of the run, whose problem may have kept there what took long to make.
      quiet: show no progress of a problem that takes long to make.

    Raises:
      InputError: if a builder refuses an option, or a number is out of range.
    """
    given = dict(configuration)
    own = {"problem": problem, "algorithm": method}
    for kind, found in own.items():
        if given.get(OWN[kind]) and found is None:
            raise InputError(f"the run's {kind} is in no registry: go on from Python, with {kind}= in hfac.runs")
        if found is not None and not given.get(OWN[kind]):
            raise InputError(f"the run's {kind} is {given[kind]}, of the registry; leave out {kind}=")
        if found is not None and _name(found) != given[kind]:
            raise InputError(f"the run's {kind} is called {given[kind]}, not {_name(found)}; hand in that one")
    _check_counts(given)
    problem_axes: _configuration.Axes = {}
    if problem is None:
        builder = find(problems.REGISTRY, given["problem"], "problem")
        known = options.of(builder)
        with as_input_error("--problem: "):
            chosen = {
                option: _typed(option, value, known) if option in known else value
                for option, value in (given.get("problem_options") or {}).items()
            }
        first, problem_axes = _configuration.option_axes(PROBLEM, chosen, options.lists(builder))
        combinations = list(itertools.product(*problem_axes.values()))
        names = [path.partition(".")[2] for (path,) in problem_axes]
        kept = {} if folder is None or not hasattr(builder, "kept") else builder.kept(folder)
        each = [
            _problem(builder, first | dict(zip(names, (row[0] for row in rows), strict=True)) | kept, quiet)
            for rows in combinations
        ]
    else:
        each = [problem]
    method = method or find(algorithms.REGISTRY, given["algorithm"], "algorithm")
    kind = options.kind_of(each[0])
    numbers = options.lists(method, kind)
    chosen = given.get("algorithm_options") or {}
    first, method_axes = _configuration.option_axes(METHOD, chosen, numbers)
    _check_values(method, each[0], first, method_axes)
    variants = tuple(_variant(each_problem, method, given, first) for each_problem in each)
    base, preset = base_schedules(given)
    schedule_axes = _configuration.schedule_axes(given)
    grid = crossed(base, schedule_axes | method_axes)
    with as_input_error():
        given |= _of_ones_own(given, own, variants[0], grid.one(0))
    judge = tuple(given.get("judge") or ()) or (_judged_at(each[0], grid, given["steps"]),)
    if bad := [tau for tau in judge if not (np.isfinite(tau) and tau > 0)]:
        raise InputError(f"--judge must be positive and finite, got {bad[0]:g}")
    least = LEAST_JUDGED[bool(jax.config.jax_enable_x64)]  # type: ignore[attr-defined]
    if bad := [tau for tau in judge if tau < least]:
        remedy = "" if least == LEAST_JUDGED[True] else "; hfac.runs.configure() judges in float64"
        raise InputError(f"--judge must be at least {least:g}: below, rounding decides; got {bad[0]:g}{remedy}")
    if len(set(judge)) < len(judge):
        raise InputError("--judge lists a value twice")
    if len(judge) > 1 and hasattr(each[0], "reported_as"):
        raise InputError(f"--judge takes one weight for {given['problem']}, got {len(judge)}")
    axes = _coordinates(problem_axes)
    seeds = range(given["first_seed"], given["first_seed"] + given["seeds"])
    if not hasattr(each[0], "judged_at"):  # where it follows from the schedules, it is looked up again
        given["judge"] = judge
    if len(variants) > 1 and hasattr(each[0], "reported_as"):
        listed = ", ".join(path.partition(".")[2] for (path,) in problem_axes)
        raise InputError(f"--problem: {given['problem']} takes one value of {listed} for a sweep, not a list")
    made = Job(variants, axes, grid, seeds, given["steps"], judge, given, preset)
    _check_shapes(made)
    engine.check_names({"x": jax.eval_shape(each[0].init_x, random.key(0))}, made.coordinates)
    return made


def _of_ones_own(
    given: Mapping[str, Any], own: Mapping[str, Any], variant: Variant, schedules: Schedules
) -> dict[str, Any]:
    """What the run keeps of a problem and a method of a person's own.

    Raises:
      InputError: if one is not what the run began with.
    """
    ways = {
        "problem": lambda: _own.of_problem(variant.problem),
        "algorithm": lambda: _own.of_method(variant.algorithm, schedules),
    }
    kept = {}
    for kind in (kind for kind, found in own.items() if found is not None):
        stored, now = given[OWN[kind]], ways[kind]()
        if isinstance(stored, Mapping):
            _own.check(kind, stored, now)
            now = dict(stored)
        kept[OWN[kind]] = now
    return kept


def _name(own: Any) -> str:
    return str(getattr(own, "name", None) or getattr(own, "__name__", "method"))


def _problem(builder: Any, chosen: Mapping[str, Any], quiet: bool) -> Any:
    """A problem, with a progress line where it takes long."""
    if not hasattr(builder, "waits_for"):
        return call(builder, (), chosen, "problem")
    phase, unit = builder.waits_for
    with progress(phase, None, unit, quiet) as bar:
        return call(builder, (bar.update,), chosen, "problem")


def _judged_at(problem: Any, grid: Grid, steps: int) -> float:
    """The entropy weight that a problem is judged at where nobody says another."""
    if hasattr(problem, "judged_at"):
        return problem.judged_at(grid.schedules, steps)
    return getattr(problem, "fixed_tau", None) or JUDGE


def _variant(
    problem: Any, method: Callable[..., Algorithm], configuration: Mapping[str, Any], chosen: Mapping[str, Any]
) -> Variant:
    own = _with_defaults(problem, configuration) | dict(chosen)
    algorithm = call(method, (problem,), own, "algorithm")
    if not isinstance(algorithm, Algorithm):
        raise InputError(f"--algorithm: {_name(method)}(problem) must return an Algorithm, got {algorithm!r}")
    return Variant(problem, algorithm, _record(problem, algorithm, configuration))


def _record(problem: Any, algorithm: Algorithm, configuration: Mapping[str, Any]) -> Any:
    """What a record point of these runs keeps; None keeps x.

    Raises:
      InputError: if there is no such thing.
    """
    own, wanted = getattr(problem, "record", None), configuration.get("record")
    if wanted == "policies":
        return _policies.keeping(algorithm, own)
    if wanted != "tables":
        return own
    if options.kind_of(problem) in ("control", "sequences"):
        raise InputError(f"--record tables: policies of {_name(problem)} are no tables; --record policies keeps them")
    with as_input_error(f"{configuration['algorithm']}: "):
        metrics.check_tables(algorithm)
    return metrics.state


def _with_defaults(problem: Any, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Options that a problem gives every method that solves it."""
    own = getattr(problem, "method_options", None)
    return {} if own is None else dict(own(configuration["algorithm"]))


def _check_counts(configuration: Mapping[str, Any]) -> None:
    for name, least in (("steps", 1), ("seeds", 1), ("first_seed", 0)):
        value = configuration[name]
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name} must be a whole number, got {value!r}")
        if value < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if configuration["steps"] >= 2**31 or configuration["first_seed"] + configuration["seeds"] > 2**31:
        raise InputError("--steps and every seed must be below 2**31")


def _check_values(
    method: Callable[..., Algorithm], problem: Any, first: Mapping[str, Any], axes: _configuration.Axes
) -> None:
    """Let the method refuse every listed value before anything runs."""
    for (path,), rows in axes.items():
        for (value,) in rows[1:]:
            call(method, (problem,), dict(first) | {path.partition(".")[2]: value}, "algorithm")


def _coordinates(axes: _configuration.Axes) -> Coordinates:
    values = {path: {path: np.asarray([value for (value,) in rows], float)} for (path,), rows in axes.items()}
    return Coordinates(tuple(values), values)


def _check_shapes(job: Job) -> None:
    """Raise `InputError` unless the problems have upper variables of one shape: their records are one dataset."""
    if len(job.variants) == 1:
        return
    if job.variants[0].record is metrics.state:
        sizes = [variant.problem.mdp.next_states.shape[:2] for variant in job.variants]
        if len(set(sizes)) > 1:
            raise InputError(
                f"{', '.join(job.axes.dims)}: tables of one sweep have one shape, got {sizes}; record x only"
            )
    _check_equal(job, "an x", [jax.eval_shape(variant.problem.init_x, random.key(0)) for variant in job.variants])
    if job.configuration.get("record") == "policies":
        first = [_policies.shapes(variant.algorithm, job.grid.one(0)) for variant in job.variants]
        _check_equal(job, "policies", first)


def _check_equal(job: Job, what: str, found: list[PyTree]) -> None:
    """Raise `InputError` unless trees of the job's problems have the same shapes."""
    for other in found[1:]:
        if jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), other) != jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), found[0]
        ):
            shapes = [jax.tree.map(lambda leaf: list(leaf.shape), each) for each in (found[0], other)]
            raise InputError(
                f"{', '.join(job.axes.dims)}: problems of one sweep have {what} of one shape, got {shapes[0]} and "
                f"{shapes[1]}; give them sweeps of their own"
            )


def call(builder: Any, args: tuple[Any, ...], chosen: Mapping[str, Any], kind: str) -> Any:
    """Call a builder with options.

    Raises:
      InputError: if it refuses them.
    """
    try:
        return builder(*args, **chosen)
    except ValueError as error:
        raise InputError(f"--{kind}: {error}") from None
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise InputError(f"--{kind}: {error}") from None
    except (MemoryError, OverflowError):
        raise InputError(f"--{kind}: so large a {kind} does not fit into this machine's memory") from None


def number_options(configuration: Mapping[str, Any]) -> set[str]:
    """Keys of the options that may be lists, such as "algorithm_options.pen_rate"."""
    found, kind = set(), "tabular"
    if configuration["problem"] in problems.REGISTRY:
        builder = find(problems.REGISTRY, configuration["problem"], "problem")
        kind = options.kind_of(builder)
        found |= {f"{TABLES[0]}.{name}" for name in options.lists(builder)}
    if configuration.get("algorithm") in algorithms.REGISTRY:
        method = find(algorithms.REGISTRY, configuration["algorithm"], "algorithm")
        found |= {f"{TABLES[1]}.{name}" for name in options.lists(method, kind)}
    return found


def default_options(problem: str, algorithm: str, preset: str | None) -> dict[str, Any]:
    """Options of the method that a preset has for a problem."""
    if preset in (None, "recommended") and recommended.is_known(problem, algorithm):
        return recommended.options(problem, algorithm)
    return {}


def base_schedules(configuration: Mapping[str, Any]) -> tuple[Schedules, str]:
    """The schedules that a configuration's numbers override, and the name of the preset they come from.

    Raises:
      InputError: if recommended settings are asked for and there are none.
    """
    names = configuration["problem"], configuration["algorithm"]
    is_named = not any(configuration.get(mark) for mark in OWN.values())
    is_known = is_named and recommended.is_known(*names)
    preset = configuration.get("preset") or ("recommended" if is_known else "attenuating")
    if preset == "recommended":
        with as_input_error("--preset: "):
            return recommended.schedules(*names), preset
    return getattr(schedules, preset)(), preset


def crossed(base: Schedules, axes: _configuration.Axes) -> Grid:
    """The grid of all lists longer than one; single values go into the base.

    Raises:
      InputError: if a number is out of range.
    """
    single = {
        key: value for keys, rows in axes.items() if len(rows) == 1 for key, value in zip(keys, rows[0], strict=True)
    }
    listed: dict[str | tuple[str, ...], list[tuple[float, ...]]] = {
        keys: rows for keys, rows in axes.items() if len(rows) > 1
    }
    with as_input_error():
        return schedules.grid(schedules.replace(base, single), listed)


def as_paths(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it was read from config.json, its lists as tuples and its paths as paths."""

    def plain(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(name, each) for name, each in value.items()}
        if isinstance(value, list):
            return tuple(plain(key, each) for each in value)
        return Path(value) if key in BY_CONTENT and isinstance(value, str) else value

    return {key: plain(key, value) for key, value in configuration.items()}
