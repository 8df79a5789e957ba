"""Running a search: candidates, rungs, the log as it grows, the winner as a configuration and a command line."""

import ast
import csv
import dataclasses
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from hfac import _files, algorithms, comparison, pages, plots, results, runs, tuning
from hfac import options as library_options
from hfac._errors import InputError, as_input_error
from hfac._progress import clock, progress, say
from hfac._registry import find
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import _sweep, _sweep_run, _tune
from hfac.cli._request import Request
from hfac.pages import Page
from hfac.problems import REGISTRY as PROBLEMS
from hfac.runs import Interrupts, Report
from hfac.settings import JUDGE, METHOD, PROBLEM, RATE_SETTINGS, SettingName
from hfac.tuning import Range, SearchPlan, Setting, Trial
from hfac.types import Algorithm, Needs

Builder = Callable[..., Algorithm]
LOG, BEST, SOURCE = "search.csv", "best.json", "provenance.json"


def execute(request: Request) -> None:
    """Search, store the log as it grows, print the best setting as a command, draw."""
    _sweep_run.begin(request)
    problem, configuration = configured(request)
    settings, name = request.settings, request.name
    builder = find(ALGORITHMS, settings.algorithm, "algorithm")
    space = space_of(builder, settings, overrides_of(builder, problem, request), algorithms.needs(settings.algorithm))
    check_values(builder, problem, space)
    plan = plan_of(settings)
    check_memory(problem, builder, space, plan, settings.design)
    tau = configuration["judge"]
    with runs.open_folder(
        configuration, settings.out, f"tune-{name}-{settings.algorithm}", is_new=not request.is_resumed
    ) as folder:
        if request.is_resumed:
            update_configuration(configuration, folder)
        kept = tuning.FinishedRungs(folder / runs.CHECKPOINTS, identity(configuration, settings))
        with runs.deferred_interrupts() as asked:
            log = search(problem, builder, space, settings, tau, settings.algorithm, folder / LOG, asked, kept, folder)
        best = log[-1][0]
        write_best(folder / BEST, request, tau, settings.algorithm, best)
        attributes = results.provenance()
        _files.replace(folder / SOURCE, json.dumps(attributes, indent=2) + "\n")
        done = show(request, configuration, log, attributes, folder)
        say(f"written to {folder}/: {', '.join((runs.CONFIG, *done.files))}", settings.quiet)
        count = 1 + max(trial.candidate for rung in log for trial in rung)
        say(f"best of {count}: {best.objective:.4f} at tau = {tau:g} on its tuning seeds", settings.quiet)
        print("\n".join(done.lines))


def report(request: Request, _: Sequence[float]) -> Report:
    """Draw again what a finished search holds.

    Raises:
      InputError: if it is not finished, or something in it is damaged.
    """
    _sweep_run.begin(request)
    _, configuration = configured(request)
    settings, folder = request.settings, request.settings.out
    log = read_log(folder / LOG) if (folder / LOG).is_file() else []
    planned = settings.rungs * (settings.rounds if settings.design == "random" else 1)
    if len(log) < planned or not (folder / BEST).is_file():
        raise InputError(
            f"{folder} holds {len(log)} of {planned} rungs of a search; `hfac resume {folder}` goes on with it"
        )
    options = json.loads((folder / BEST).read_text(encoding="utf-8"))["algorithm_options"]
    best = log[-1][0]
    log[-1][0] = best._replace(setting=best.setting._replace(options=options))
    is_known = (folder / SOURCE).is_file()  # version 0.1 did not say
    attributes = json.loads((folder / SOURCE).read_text(encoding="utf-8")) if is_known else {}
    return show(request, configuration, log, attributes, folder)


def show(
    request: Request,
    configuration: Mapping[str, Any],
    log: Sequence[Sequence[Trial]],
    attributes: Mapping[str, Any],
    folder: Path,
) -> Report:
    """The command line that uses the best setting, and the figure."""
    settings, name, tau = request.settings, request.name, configuration["judge"]
    if settings.figures:
        with runs.drawing(settings.quiet):
            plots.save(plots.search(log, f"{name}, {settings.algorithm}", tau), folder / "figures" / "search.png")
    line = command_line(request, tau, settings.algorithm, log[-1][0])

    def page() -> Page:
        return pages.search(log, line, tau, name, settings.algorithm, pages.origin(configuration, attributes))

    return Report(log, (line,), (LOG, BEST, *(["figures/"] if settings.figures else [])), page)


def configured(request: Request) -> tuple[Any, dict[str, Any]]:
    """The problem, and the configuration with the judge's entropy weight that is meant where none was given.

    Raises:
      InputError: if the builder refuses an option, or an option is a list.
    """
    builder = find(PROBLEMS, request.problem, "problem")
    chosen = dataclasses.asdict(request.problem_options)
    for option in library_options.lists(builder):
        if isinstance(chosen[option], tuple):
            raise InputError(
                f"--problem.{option.replace('_', '-')}: hfac {request.command} takes one problem, not a list"
            )
    problem = runs.call(builder, (), chosen, "problem")
    content = _sweep.content(request)
    if content["judge"] is None:
        content["judge"] = getattr(problem, "fixed_tau", None) or JUDGE
    return problem, content


def update_configuration(configuration: Mapping[str, Any], folder: Path) -> None:
    """Write the configuration of a search that was made larger."""
    if runs.differences(runs.read_config(folder), configuration):
        runs.write_config(folder, configuration)


def overrides_of(builder: Builder, problem: Any, request: Request) -> dict[str, Any]:
    """Options that differ from the builder's own, as axes: lists are searched, others fixed.

    Raises:
      InputError: if the method refuses a value.
    """
    chosen = changed(builder, request.algorithm_options)
    lists = library_options.lists(builder)
    several = {option for option, value in chosen.items() if option in lists and isinstance(value, tuple)}
    first = {option: value[0] if option in several else value for option, value in chosen.items()}
    for option in first:
        for value in chosen[option] if option in several else (first[option],):
            runs.call(builder, (problem,), first | {option: value}, METHOD)
    return {option: value if option in several else (value,) for option, value in chosen.items()}


def check_values(builder: Builder, problem: Any, space: Mapping[str, Any]) -> None:
    """Let the method refuse every value that a search may try, before anything is written.

    Raises:
      InputError: if it does, a range is over an option that is no number, or a schedule takes no such value.
    """
    known = library_options.of(builder, library_options.kind_of(problem))
    listed = {name: axis for name, axis in space.items() if name in known}
    first: dict[str, Any] = {}
    for name, axis in listed.items():
        if isinstance(axis, Range) and not known[name].is_number:
            raise InputError(f"--search: {name} takes listed values, not a range: {name}=A,B,C")
        first[name] = axis.low if isinstance(axis, Range) else axis[0]
    for name, axis in listed.items():
        if len(set(map(repr, axis))) < len(axis):
            raise InputError(f"--search: {name} lists a value twice")
        for value in axis:
            with as_input_error("--search: "):
                builder(problem, **first | {name: value})
    for name in set(space) - set(listed):
        for value in space[name]:
            with as_input_error(f"--search: {name}: "):
                tuning.check_rate(name, value)


def check_memory(problem: Any, builder: Builder, space: Mapping[str, Any], plan: SearchPlan, design: str) -> None:
    """Raise `InputError` unless the most runs that a search holds beside each other fit into memory."""
    crossed = math.prod(len(axis) for axis in space.values()) if design == "grid" else 0
    largest = max(
        (crossed or plan.num_candidates(r)) * len(plan.seeds(r)) for r in range(1 if crossed else plan.num_rounds)
    )
    first = {name: axis[0] for name, axis in space.items() if not isinstance(axis, Range) and not tuning.is_rate(name)}
    algorithm = runs.call(builder, (problem,), first, "algorithm")
    remedy = "give a smaller --budget, fewer seeds, or --search fewer values"
    runs.check_beside(largest, algorithm, tuning.to_schedules(Setting({}, {})), remedy)


def identity(configuration: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """What a finished rung must have in common with the search that goes on from it."""
    budget = settings.budget or _tune.RUNS_PAID_FOR * settings.samples
    shared = runs.identity(configuration, grows=("budget", "rounds"))
    return shared | {"budget of a round": budget / settings.rounds, "devices": jax.local_device_count()}


def space_of(builder: Builder, settings: Any, overrides: Mapping[str, Any], needs: Needs) -> dict[str, tuning.Axis]:
    """The space that a command's settings ask for: the default one, fixed options, then its own axes.

    Raises:
      InputError: if an axis is unknown, wrong, or a range where a grid needs values.
    """
    with as_input_error("--search: "):
        space = tuning.space_of(builder, needs, {**overrides, **_tune.axes(settings.search)})
        if settings.design == "grid":
            tuning.cross(space)
    return space


def plan_of(settings: Any) -> SearchPlan:
    """How a command's settings spend their budget.

    Raises:
      InputError: if it pays for no candidate.
    """
    budget = settings.budget or _tune.RUNS_PAID_FOR * settings.samples
    names = ("seeds", "first_seed", "rounds", "rungs", "reduction", "search_seed")
    plan = SearchPlan(settings.samples, budget, *(getattr(settings, name) for name in names))
    last = plan.num_rounds - 1  # the dearest candidates
    if settings.design == "random" and plan.num_candidates(last) < 1:
        need = math.ceil(budget / max(plan._replace(budget=budget * 1e6).num_candidates(last) / 1e6, 1e-9))
        raise InputError(
            f"--budget {budget:,} pays for no candidate; give at least {need:,}, fewer --samples or fewer --rounds"
        )
    return plan


def search(
    problem: Any,
    builder: Builder,
    space: Mapping[str, Any],
    settings: Any,
    tau: float,
    name: str,
    log_file: Path,
    asked: Interrupts,
    kept: tuning.FinishedRungs,
    folder: Path,
) -> list[list[Trial]]:
    """All rungs of a search, each written to the log when it ends; those that are kept already are not run again.

    Raises:
      InputError: if the method refuses the problem or an option, or the budget pays for no candidate.
      KeyboardInterrupt: if somebody asked to stop.
    """
    plan, log = plan_of(settings), list[list[Trial]]()
    num_rounds = plan.num_rounds if settings.design == "random" else 1
    bar = progress(f"{name}: tuning, {rung_words(0, num_rounds, plan.num_rungs)}", None, "run-steps", settings.quiet)

    def report(done: float, total: float) -> None:
        bar.update(done, total)
        if asked.is_set:
            raise KeyboardInterrupt(
                f"stopped; {folder} holds the rungs that were finished; `hfac resume {folder}` goes on from there"
            )

    def all_rungs() -> Iterator[list[Trial]]:
        if settings.design == "random":
            announce([plan.num_candidates(r) for r in range(plan.num_rounds)])
            return tuning.tune(problem, builder, space, plan, tau, report, kept)
        crossed = tuning.cross(space)
        announce([len(crossed)])
        return tuning.search(
            problem,
            builder,
            crossed,
            plan.num_samples,
            tau,
            seeds=plan.seeds(0),
            num_rungs=plan.num_rungs,
            reduction=plan.reduction,
            progress=report,
            kept=kept,
        )

    def announce(counts: Sequence[int]) -> None:
        rounds = [f"{count} candidates x {len(plan.seeds(r))} seeds" for r, count in enumerate(counts)]
        say(f"{name}: {', '.join(rounds)}; {plan.num_rungs} rungs each", settings.quiet)

    with bar, as_input_error(f"{name}: "):
        for rung in all_rungs():
            log.append(rung)
            write_log(log_file, log)
            bar.go_on(f"{name}: tuning, {rung_words(len(log), num_rounds, plan.num_rungs)}")
    say(f"{name}: {log[-1][0].objective:.4f} in {clock(bar.seconds)}", settings.quiet)
    return log


def rung_words(finished: int, num_rounds: int, num_rungs: int) -> str:
    """The rung that comes after those that are finished, in words."""
    round, rung = divmod(min(finished, num_rounds * num_rungs - 1), num_rungs)
    words = f"rung {rung + 1} of {num_rungs}"
    return f"round {round + 1} of {num_rounds}, {words}" if num_rounds > 1 else words


def changed(builder: Any, options: Any) -> dict[str, Any]:
    """Options that differ from the builder's own defaults."""
    own = library_options.of(builder)
    return {name: value for name, value in dataclasses.asdict(options).items() if value != own[name].default}


def write_log(path: Path, log: Sequence[Sequence[Trial]]) -> None:
    """Every trial as a row; the file is replaced whole."""
    trials = [trial for rung in log for trial in rung]
    options = sorted({name for trial in trials for name in trial.setting.options})
    fields = ["round", "rung", "candidate", "steps", "samples", "objective", "diverged", *options, *tuning.SETTINGS]
    rows = []
    for trial in trials:
        row = {name: getattr(trial, name) for name in fields[:7]}
        rows.append(
            dict.fromkeys(fields, "")
            | row
            | trial.setting.options
            | {n.path: v for n, v in numbers(trial.setting).items()}
        )
    comparison.write_csv(path, rows)


def read_log(path: Path) -> list[list[Trial]]:
    """The trials that `write_log` wrote, by rung, best first.

    Raises:
      InputError: if it cannot be read.
    """
    log: dict[tuple[int, int], list[Trial]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                numbers: dict[str, Any] = {
                    name: int(row.pop(name)) for name in ("round", "candidate", "rung", "steps", "diverged")
                }
                numbers |= {name: float(row.pop(name)) for name in ("samples", "objective")}
                rates = {name: float(row.pop(name)) for name in tuning.SETTINGS}
                options = {name: _value(text) for name, text in row.items() if text}
                trial = Trial(**numbers, setting=Setting(options, rates))
                log.setdefault((trial.round, trial.rung), []).append(trial)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}; restore it from a copy") from None
    return [sorted(trials, key=lambda trial: trial.objective) for trials in log.values()]


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def numbers(setting: Setting) -> dict[SettingName, float]:
    """Every number of a setting's schedules, defaults included."""
    decays = tuning.to_schedules(setting)
    return {name: float(getattr(getattr(decays, name.owner), name.field)) for name in RATE_SETTINGS}


def write_best(path: Path, request: Request, tau: float, algorithm: str, best: Trial) -> None:
    """The winner as a configuration file of ``hfac sweep`` and ``hfac compare``."""
    flags = {name.key: value for name, value in numbers(best.setting).items()}
    content = {
        "problem": request.problem,
        "algorithm": algorithm,
        "preset": "attenuating",
        "steps": best.steps,
        **flags,
        "judge": tau,
        "problem_options": dataclasses.asdict(request.problem_options),
        "algorithm_options": best.setting.options,
    }
    _files.replace(path, json.dumps(content, indent=2) + "\n")


def command_line(request: Request, tau: float, algorithm: str, best: Trial) -> str:
    """The sweep of the winner as it would be typed."""
    words = ["hfac", "sweep", request.problem, "--algorithm", algorithm, "--preset", "attenuating"]
    words += ["--steps", str(best.steps), "--judge", f"{tau:g}"]
    found = numbers(best.setting)
    offsets = {value for name, value in found.items() if name.field == "offset"}
    if len(offsets) == 1:
        words += ["--offset", f"{offsets.pop():.6g}"]
        found = {name: value for name, value in found.items() if name.field != "offset"}
    for name, value in found.items():
        if value or name.field != "floor":
            words += [f"--{name.flag}", f"{value:.6g}"]
    problem_builder = find(PROBLEMS, request.problem, "problem")
    for table, options in (
        (PROBLEM, changed(problem_builder, request.problem_options)),
        (METHOD, best.setting.options),
    ):
        for option, value in options.items():
            words += _option(SettingName(table, option), value)
    return shlex.join(words)


def _option(name: SettingName, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name.flag}" if value else f"--{name.owner}.no-{name.flag.partition('.')[2]}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{name.flag}", *(str(v) for v in values)]
