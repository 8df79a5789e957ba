"""From a configuration, as it is stored, to a job that is ready to run."""

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hfac import _checks, algorithms, engine, metrics, options, problems, recommended, schedules
from hfac._compiler import random
from hfac._errors import InputError, as_input_error
from hfac._places import is_place, short
from hfac._progress import progress
from hfac._registry import find, is_known
from hfac.runs import _configuration, _own, _policies
from hfac.runs._folder import BY_CONTENT, TABLES
from hfac.runs._job import Job, Variant
from hfac.schedules import Coordinates, Grid, Schedules
from hfac.settings import JUDGE, LEAST_JUDGED, METHOD, OWN, PROBLEM, only_in_python
from hfac.types import Algorithm, PyTree


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
    handed_in = only_in_python(given)
    for kind, found in own.items():
        if kind in handed_in and found is None:
            raise InputError(f"the run's {kind} is in no registry: go on from Python, with {kind}= in hfac.runs")
        if found is not None and kind not in handed_in:
            raise InputError(f"the run's {kind} is {given[kind]}, of the registry; leave out {kind}=")
        if found is not None and name_of(found) != given[kind]:
            raise InputError(f"the run's {kind} is called {given[kind]}, not {name_of(found)}; hand in that one")
    _check_counts(given)
    problem_axes: _configuration.Axes = {}
    if problem is None:
        builder = find(problems.REGISTRY, given["problem"], "problem")
        known = options.of(builder)
        with as_input_error("--problem: "):
            chosen = {
                option: typed(option, value, known) if option in known else value
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
        _check_made(each[0], options.kind_of(builder), given["problem"])
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
    for kind in (kind for kind, found in own.items() if found is not None or is_place(given[kind])):
        stored, now = given.get(OWN[kind]), ways[kind]()
        if isinstance(stored, Mapping):
            _own.check(kind, stored, now)
            now = dict(stored)
        kept[OWN[kind]] = now
    return kept


def typed(option: str, value: Any, own: Mapping[str, Any]) -> Any:
    """The value of an option as its type; a list for a number holds such numbers."""
    hint = own[option].hint
    if hint in (int, float) and isinstance(value, list | tuple):
        return tuple(_checks.option(option, each, hint) for each in value)
    return _checks.option(option, value, hint)


def name_of(own: Any) -> str:
    """What a problem or a builder of one's own is called."""
    return str(getattr(own, "name", None) or getattr(own, "__name__", "method"))


def _problem(builder: Any, chosen: Mapping[str, Any], quiet: bool) -> Any:
    """A problem, with a progress line where it takes long."""
    if not hasattr(builder, "waits_for"):
        return call(builder, (), chosen, "problem")
    phase, unit = builder.waits_for
    with progress(phase, None, unit, quiet) as bar:
        return call(builder, (bar.update,), chosen, "problem")


def _check_made(problem: Any, kind: str, name: str) -> None:
    """Raise `InputError` unless a builder made a problem, of the kind that it is annotated to make."""
    if not (hasattr(problem, "init_x") and hasattr(problem, "name")):
        raise InputError(
            f"--problem: {short(name)} must return a problem, such as an hfac.Problem, got a {type(problem).__name__}"
        )
    if options.kind_of(problem) != kind:
        made = type(problem).__name__
        raise InputError(f"--problem: {short(name)} does not say what it makes; annotate it as -> {made}")


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
        raise InputError(f"--algorithm: {name_of(method)}(problem) must return an Algorithm, got {algorithm!r}")
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
        raise InputError(f"--record tables: policies of {name_of(problem)} are no tables; --record policies keeps them")
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
        if not re.search(r"unexpected keyword|missing \d+ required", str(error)):
            raise
        raise InputError(f"--{kind}: {error}") from None
    except (MemoryError, OverflowError):
        raise InputError(f"--{kind}: so large a {kind} does not fit into this machine's memory") from None


def number_options(configuration: Mapping[str, Any]) -> set[str]:
    """Keys of the options that may be lists, such as "algorithm_options.pen_rate"."""
    found, kind = set(), "tabular"
    if is_known(problems.REGISTRY, configuration["problem"]):
        builder = find(problems.REGISTRY, configuration["problem"], "problem")
        kind = options.kind_of(builder)
        found |= {f"{TABLES[0]}.{name}" for name in options.lists(builder)}
    if is_known(algorithms.REGISTRY, configuration.get("algorithm", "")):
        method = find(algorithms.REGISTRY, configuration["algorithm"], "algorithm")
        found |= {f"{TABLES[1]}.{name}" for name in options.lists(method, kind)}
    return found


def default_options(
    problem: str, algorithm: str, preset: str | None, problem_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Options of the method that a preset has for a problem with these options."""
    problem = recommended.name(problem, problem_options)
    if preset in (None, "recommended") and recommended.is_known(problem, algorithm):
        return recommended.options(problem, algorithm)
    return {}


def base_schedules(configuration: Mapping[str, Any]) -> tuple[Schedules, str]:
    """The schedules that a configuration's numbers override, and the name of the preset they come from.

    Raises:
      InputError: if recommended settings are asked for and there are none.
    """
    problem = recommended.name(configuration["problem"], configuration.get("problem_options"))
    names = problem, configuration["algorithm"]
    is_named = not only_in_python(configuration)
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
