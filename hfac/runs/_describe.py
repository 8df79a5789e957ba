"""A job from what a script says: names, options and numbers become a configuration that can be stored."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from hfac import _checks, _files, _places, algorithms, options, problems
from hfac._compiler.jaxpr import is_tracing
from hfac._errors import InputError, as_input_error, nearest
from hfac._registry import find, is_known
from hfac.runs import _configuration
from hfac.runs._build import build, default_options, name_of, typed
from hfac.runs._folder import BY_CONTENT, TABLES
from hfac.runs._job import Job
from hfac.settings import OWN
from hfac.types import Algorithm

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
      problem: a name of `hfac.problems.REGISTRY`, FILE.py:BUILDER, or a problem of your own.
      algorithm: a name of `hfac.algorithms.REGISTRY`, FILE.py:BUILDER, or a builder
        ``(problem, **options) -> Algorithm``.
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
    name = _places.placed(problem) if own_problem is None else name_of(own_problem)
    method = _places.placed(algorithm) if own_method is None else name_of(algorithm)
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
        known = default_options(name, method, preset, configuration["problem_options"])
        configuration["algorithm_options"] = known | configuration["algorithm_options"]
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
    if not is_known(registry, name):
        return dict(given)
    own = options.of(find(registry, name, kind_of_thing), kind)
    for option in given.keys() - own.keys():
        raise InputError(f"--{kind_of_thing}: {name} has no option '{option}'{nearest(option, sorted(own))}")
    plain = {option: found.default for option, found in own.items() if options.is_plain(found.hint)}
    with as_input_error(f"--{kind_of_thing}: "):
        return plain | {option: typed(option, value, own) for option, value in given.items()}


def _plain(value: Any, name: str = "") -> Any:
    """NumPy's and jax's numbers as Python's, and paths where they are."""
    if isinstance(value, Mapping):
        return {key: _plain(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(each, name) for each in value)
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return _plain(np.asarray(value).tolist(), name) if np.ndim(value) < 2 else value
    return _files.place(value) if name in BY_CONTENT and isinstance(value, str | Path) else _places.placed(value)


def _can_be_written(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_can_be_written, value))
    return value is None or isinstance(value, bool | int | float | str | Path)


def _version() -> str:
    from hfac import __version__

    return __version__
