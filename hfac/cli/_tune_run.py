"""Running a search: candidates, rungs, the log as it grows, the winner as a configuration and a command line."""

import dataclasses
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from hfac import _files, algorithms, comparison, plots, tuning
from hfac import options as library_options
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import InputError, _config, _folder, _sweep, _sweep_report, _sweep_run, _tune, as_input_error
from hfac.cli._interrupts import Interrupts, held_back
from hfac.cli._progress import Progress, clock, say
from hfac.cli._request import Request
from hfac.cli._settings import RATES
from hfac.problems import REGISTRY as PROBLEMS
from hfac.tabular.problem import Problem
from hfac.tuning import Plan, Range, Setting, Trial
from hfac.types import Algorithm, Needs

Builder = Callable[..., Algorithm]


def execute(request: Request) -> None:
    """Search, store the log as it grows, print the best setting as a command, draw."""
    problem, request = _sweep_run.build_problem(request)
    settings, name = request.settings, request.problem
    builder = _config.lookup(ALGORITHMS, settings.algorithm, "algorithm")
    _config.build_method(builder, problem, request.algorithm_options)
    chosen = changed(builder, request.algorithm_options)
    several = _config.listed(request.algorithm_options)
    overrides = {option: several.get(option, (value,)) for option, value in chosen.items()}
    space = space_of(builder, settings, overrides, algorithms.needs(settings.algorithm))
    plan_of(settings)
    with _sweep.work(request, f"tune-{name}-{settings.algorithm}") as folder:
        if request.resumed:
            _sweep.keep_growth(request, folder)
        kept = tuning.Kept(folder / _folder.CHECKPOINTS, identity(request))
        with held_back() as asked:
            log = search(problem, builder, space, settings, settings.algorithm, folder / "search.csv", asked, kept)
        best = log[-1][0]
        write_best(folder / "best.json", request, settings.algorithm, best)
        if settings.figures:
            with _sweep_report.drawing(settings.quiet):
                figure = plots.search(log, f"{name}, {settings.algorithm}", settings.judge)
                plots.save(figure, folder / "figures" / "search.png")
        drawn = ", figures/" if settings.figures else ""
        say(f"written to {folder}/: config.json, search.csv, best.json{drawn}", settings.quiet)
        count = 1 + max(trial.candidate for rung in log for trial in rung)
        say(f"best of {count}: {best.worth:.4f} at tau = {settings.judge:g} on its tuning seeds", settings.quiet)
        print(command_line(request, settings.algorithm, best))


def identity(request: Request) -> dict[str, Any]:
    """What a finished rung must have in common with the search that goes on from it."""
    budget = request.settings.budget or _tune.RUNS_PAID_FOR * request.settings.samples
    shared = {key: value for key, value in _sweep.identity(request).items() if key not in ("budget", "rounds")}
    return shared | {"budget of a round": budget / request.settings.rounds, "devices": jax.local_device_count()}


def space_of(builder: Builder, settings: Any, overrides: Mapping[str, Any], needs: Needs) -> dict[str, tuning.Axis]:
    """The space that a command's settings ask for: the default one, fixed options, then its own axes.

    Raises:
      InputError: if an axis is unknown, wrong, or a range where a grid needs values.
    """
    with as_input_error("--search: "):
        space = tuning.space_of(builder, needs, {**overrides, **as_axes(settings.search)})
        if settings.design == "grid":
            tuning.cross(space)
    return space


def plan_of(settings: Any) -> Plan:
    """How a command's settings spend their budget.

    Raises:
      InputError: if it pays for no candidate.
    """
    budget = settings.budget or _tune.RUNS_PAID_FOR * settings.samples
    names = ("seeds", "first_seed", "rounds", "rungs", "reduction", "search_seed")
    plan = Plan(settings.samples, budget, *(getattr(settings, name) for name in names))
    last = plan.num_rounds - 1  # the dearest candidates
    if settings.design == "random" and plan.num_candidates(last) < 1:
        need = math.ceil(budget / max(plan._replace(budget=budget * 1e6).num_candidates(last) / 1e6, 1e-9))
        raise InputError(
            f"--budget {budget:,} pays for no candidate; give at least {need:,}, fewer --samples or fewer --rounds"
        )
    return plan


def search(
    problem: Problem,
    builder: Builder,
    space: Mapping[str, Any],
    settings: Any,
    name: str,
    log_file: Path,
    asked: Interrupts,
    kept: tuning.Kept | None = None,
) -> list[list[Trial]]:
    """All rungs of a search, each written to the log when it ends; those that are kept already are not run again.

    Raises:
      InputError: if the method refuses the problem or an option, or the budget pays for no candidate.
      KeyboardInterrupt: if somebody asked to stop.
    """
    plan = plan_of(settings)
    progress = Progress(1, "run-steps", settings.quiet)

    def report(done: float, total: float) -> None:
        progress.update(done, total=total)
        if asked.is_set:
            goes_on = "" if kept is None else f"; `hfac resume {log_file.parent}` goes on from there"
            raise KeyboardInterrupt(f"stopped; {log_file.parent} holds the rungs that were finished{goes_on}")

    def all_rungs() -> Iterator[list[Trial]]:
        if settings.design == "random":
            show([plan.num_candidates(r) for r in range(plan.num_rounds)])
            return tuning.tune(problem, builder, space, plan, settings.judge, report, kept)
        crossed = tuning.cross(space)
        show([len(crossed)])
        return tuning.search(
            problem,
            builder,
            crossed,
            plan.num_samples,
            settings.judge,
            seeds=plan.seeds(0),
            num_rungs=plan.num_rungs,
            reduction=plan.reduction,
            progress=report,
            kept=kept,
        )

    def show(counts: Sequence[int]) -> None:
        rounds = [f"{count} candidates x {len(plan.seeds(r))} seeds" for r, count in enumerate(counts)]
        say(f"{name}: {', '.join(rounds)}; {plan.num_rungs} rungs each", settings.quiet)

    log: list[list[Trial]] = []
    try:
        with as_input_error(f"{name}: "):
            for rung in all_rungs():
                log.append(rung)
                write_log(log_file, log)
    finally:
        seconds = progress.close()
    say(f"{name}: {log[-1][0].worth:.4f} in {clock(seconds)}", settings.quiet)
    return log


def changed(builder: Any, options: Any) -> dict[str, Any]:
    """Options that differ from the builder's own defaults."""
    own = library_options.of(builder)
    return {name: value for name, value in dataclasses.asdict(options).items() if value != own[name].default}


def as_axes(entries: Sequence[str]) -> dict[str, Any]:
    """The axes of `--search` as the library's."""
    return {name: Range(*axis) if isinstance(axis, _tune.Ends) else axis for name, axis in _tune.axes(entries).items()}


def write_log(path: Path, log: Sequence[Sequence[Trial]]) -> None:
    """Every trial as a row; the file is replaced whole."""
    trials = [trial for rung in log for trial in rung]
    options = sorted({name for trial in trials for name in trial.setting.options})
    fields = ["round", "rung", "candidate", "steps", "samples", "worth", "diverged", *options, *tuning.SETTINGS]
    rows = []
    for trial in trials:
        row = {name: getattr(trial, name) for name in fields[:7]}
        rows.append(dict.fromkeys(fields, "") | row | trial.setting.options | numbers(trial.setting))
    comparison.write_csv(path, rows)


def numbers(setting: Setting) -> dict[str, float]:
    """Every number of a setting's schedules, defaults included: "upper.scale" -> value."""
    decays = tuning.to_schedules(setting)
    return {
        name: float(getattr(getattr(decays, name.partition(".")[0]), name.partition(".")[2]))
        for name in tuning.SETTINGS
    }


def write_best(path: Path, request: Request, algorithm: str, best: Trial) -> None:
    """The winner as a configuration file of ``hfac sweep`` and ``hfac compare``."""
    flags = {_flag(name).replace("-", "_"): value for name, value in numbers(best.setting).items()}
    content = {
        "problem": request.problem,
        "algorithm": algorithm,
        "preset": "attenuating",
        "steps": best.steps,
        **flags,
        "judge": request.settings.judge,
        "problem_options": dataclasses.asdict(request.problem_options),
        "algorithm_options": best.setting.options,
    }
    _files.replace(path, json.dumps(content, indent=2) + "\n")


def command_line(request: Request, algorithm: str, best: Trial) -> str:
    """The sweep of the winner as it would be typed."""
    words = ["hfac", "sweep", request.problem, "--algorithm", algorithm, "--preset", "attenuating"]
    words += ["--steps", str(best.steps), "--judge", f"{request.settings.judge:g}"]
    found = numbers(best.setting)
    offsets = {found[f"{rate}.offset"] for rate in RATES}
    if len(offsets) == 1:
        words += ["--offset", f"{offsets.pop():.6g}"]
        found = {name: value for name, value in found.items() if not name.endswith("offset")}
    for name, value in found.items():
        if value or not name.endswith("floor"):
            words += [f"--{_flag(name)}", f"{value:.6g}"]
    problem_builder = _config.lookup(PROBLEMS, request.problem, "problem")
    for table, options in (
        ("problem", changed(problem_builder, request.problem_options)),
        ("algorithm", best.setting.options),
    ):
        for option, value in options.items():
            words += _option(table, option.replace("_", "-"), value)
    return shlex.join(words)


def _option(table: str, option: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{table}.{option}" if value else f"--{table}.no-{option}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{table}.{option}", *(str(v) for v in values)]


def _flag(name: str) -> str:
    rate, _, field = name.partition(".")
    return rate if field == "scale" else f"{rate}-{field}"
