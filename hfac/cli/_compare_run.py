"""Running a comparison: every method tuned alike, run on the same seeds, judged, tabulated, drawn."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from hfac import _files, algorithms, comparison, judging, plots, results, runs, statistics, tuning
from hfac._errors import InputError, Stopped, as_input_error
from hfac._progress import clock, progress, say, waiting
from hfac.cli import _compare, _config, _sweep_run, _tune, _tune_run
from hfac.cli._request import Request
from hfac.comparison import Entry
from hfac.runs import Execution, Job, Variant
from hfac.schedules import Coordinates, single
from hfac.settings import RATE_SETTINGS, find
from hfac.tuning import Setting
from hfac.types import Algorithm

if TYPE_CHECKING:
    import xarray

TARGET_SHARE = 0.9  # of the way from the start to the exact descent
SETTINGS, SEARCH, METHODS, JUDGED = "settings", "search", "methods", "results"  # folders


def execute(request: Request) -> None:
    """Tune, run, judge, tabulate and draw; each method's search and runs are stored as they come."""
    execution = _sweep_run.begin(request)
    request = with_budget(request)
    problem, configuration = _tune_run.configured(request)
    settings, name, tau = request.settings, request.problem, configuration["judge"]
    methods = ["hfac", *(method for method in settings.algorithms if method != "hfac")]
    given = read_settings(settings.settings, name, methods)
    if request.is_resumed:
        kept = stored_settings(settings.out, methods)
        for method in kept:
            if given.get(method, kept[method]) != kept[method]:
                raise InputError(f"--settings: the comparison has settings of {method} and keeps them")
        given |= kept
    for method in methods:
        options = given[method].options if method in given else {}
        built = runs.call(getattr(algorithms, method), (problem,), options, f"algorithms: {method}")
        check_memory(problem, method, built, settings, is_searched=method not in given)
    with runs.open_folder(configuration, settings.out, f"compare-{name}", is_new=not request.is_resumed) as folder:
        if request.is_resumed:
            _tune_run.update_configuration(configuration, folder)
        keep_settings(settings.settings, folder)
        entries = run_all(problem, methods, given, request, configuration, folder, execution)
        start, reference = reference_values(entries[0], problem, tau, settings.quiet)
        target = settings.target
        if target is None:
            target = start + TARGET_SHARE * (reference - start)
        groups = {
            "samples": [entry for entry in entries if not entry.needs.model],
            "model": [entry for entry in entries if entry.needs.model],
        }
        for kind, group in groups.items():
            if group:
                report(problem, kind, group, entries[0], target, reference, tau, settings, folder)
        drawn = ", figures/" if settings.figures else ""
        say(f"written to {folder}/: config.json, table_*.csv, settings/, search/, results/{drawn}", settings.quiet)


def check_memory(problem: Any, method: str, algorithm: Algorithm, settings: Any, is_searched: bool) -> None:
    """Raise `InputError` unless a method's search and its runs fit into memory."""
    runs.check_beside(settings.seeds, algorithm, tuning.to_schedules(Setting({}, {})), "give fewer --seeds")
    if is_searched:
        own = search_settings(settings, settings.samples, axes_of(method, settings))
        builder = getattr(algorithms, method)
        space = _tune_run.space_of(builder, own, {}, algorithms.needs(method))
        _tune_run.check_values(builder, problem, space)
        _tune_run.check_memory(problem, builder, space, _tune_run.plan_of(own), own.design)


def read_settings(paths: Sequence[Path], problem: str, methods: Sequence[str]) -> dict[str, Setting]:
    """Settings from files that `hfac tune` wrote, by method.

    Raises:
      InputError: if a file is for another problem or a method that is not compared.
    """
    found = {}
    for path in paths:
        content = _config.read_file(_files.shown(path), "--settings")
        method = str(content.get("algorithm"))
        if content.get("problem") != problem or method not in methods:
            what = f"{content.get('problem')} / {method}"
            raise InputError(f"--settings {path}: is for {what}, not for {problem} and one of {', '.join(methods)}")
        names = {find(key): value for key, value in content.items()}
        rates = {name.path: float(names[name]) for name in RATE_SETTINGS if name in names}
        found[method] = Setting(dict(content.get("algorithm_options", {})), rates)
    return found


def keep_settings(paths: Sequence[Path], folder: Path) -> None:
    """Copy the files that were given beside those that are found."""
    (folder / SETTINGS).mkdir(exist_ok=True)
    for path in paths:
        content = _config.read_file(_files.shown(path), "--settings")
        kept = folder / SETTINGS / f"{content['algorithm']}.json"
        if not kept.exists():
            _files.replace(kept, json.dumps(content, indent=2) + "\n")


def with_budget(request: Request) -> Request:
    """The request with the samples of every search, which stay as they are when the runs' samples grow."""
    settings = request.settings
    samples = runs.read_config(settings.out)["samples"] if request.is_resumed else settings.samples
    budget = settings.budget or _tune.RUNS_PAID_FOR * samples
    return request._replace(settings=dataclasses.replace(settings, budget=budget))


def stored_settings(folder: Path, methods: Sequence[str]) -> dict[str, Setting]:
    """Settings that a comparison has found already: a method is tuned once."""
    paths = [folder / SETTINGS / f"{method}.json" for method in methods]
    there = [path for path in paths if path.is_file()]
    return read_settings(there, str(runs.read_config(folder)["problem"]), methods)


def run_all(
    problem: Any,
    methods: Sequence[str],
    given: Mapping[str, Setting],
    request: Request,
    configuration: Mapping[str, Any],
    folder: Path,
    execution: Execution,
) -> list[Entry]:
    """Tune and run every method in turn, hfac first."""
    settings = request.settings
    entries: list[Entry] = []
    num_steps = settings.model_steps
    for method in methods:
        has_samples = not algorithms.needs(method).model
        setting = given.get(method)
        if setting is None:
            horizon = num_steps if not has_samples else settings.samples
            setting = tune(problem, method, request, configuration, folder, horizon or settings.samples)
        entry = run(problem, method, setting, configuration, folder / METHODS / method, num_steps, execution)
        num_steps = num_steps or int(entry.data["step"][-1])
        replace_results(entry.data, folder / JUDGED / f"{method}.zarr")
        mean = statistics.interquartile_mean(entry.objective())
        say(f"{method}: {mean:.4f}, {settings.seeds} seeds in {clock(entry.seconds)}", settings.quiet)
        entries.append(entry)
    return entries


def reached(folder: Path) -> int:
    """The last record point that a method's runs have room for, -1 without any: others can only come after it."""
    if not (folder / runs.RESULTS).exists():
        return -1
    return max((int(part.points[-1]) for part in results.Store(folder / runs.RESULTS).parts), default=-1)


def replace_results(data: "xarray.Dataset", path: Path) -> None:
    """Keep judged results, whole or not at all, in place of those of fewer seeds or samples."""
    unfinished = path.with_name(f"{path.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(exist_ok=True)
    results.write(data, unfinished)
    shutil.rmtree(path, ignore_errors=True)
    unfinished.rename(path)


def run(
    problem: Any,
    method: str,
    setting: Setting,
    configuration: Mapping[str, Any],
    folder: Path,
    num_steps: int,
    execution: Execution,
) -> Entry:
    """One method's runs, stored in a folder of their own: those that are there already are not run again."""
    needs, tau, samples = algorithms.needs(method), configuration["judge"], configuration["samples"]
    seeds = range(configuration["first_seed"], configuration["first_seed"] + configuration["seeds"])
    rates = tuning.to_schedules(setting)
    with as_input_error(f"{method}: "):
        algorithm = getattr(algorithms, method)(problem, **setting.options)
        with waiting(f"{method}: counting the samples of a step", execution.quiet):
            pace = comparison.pace(algorithm, rates, seeds, samples, num_steps or None)
    own = {name: configuration[name] for name in ("version", "problem", "problem_options", "seeds", "first_seed")}
    own |= {"command": "compare", "algorithm": method, "algorithm_options": setting.options, "steps": pace.num_steps}
    job = Job(
        variants=(Variant(problem, algorithm),),
        axes=Coordinates((), {}),
        grid=single(rates),
        seeds=seeds,
        steps=pace.num_steps,
        judge=(tau,),
        record=None,
        configuration=own,
        preset="found",
        record_at=tuple(point for point in pace.record_at if point > reached(folder)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / runs.CONFIG).exists():
        runs.write_config(folder, job.configuration)
    try:
        with as_input_error(f"{method}: "):
            runs.record(job, folder, execution, None)
    except Stopped:
        raise Stopped(f"stopped; `hfac resume {folder.parent.parent}` goes on from there") from None
    data = runs.load(job, folder, execution.quiet)
    with progress(f"{method}: judging", len(seeds), "runs", execution.quiet) as bar:
        judged = results.judge(data, judging.judge_of(problem, tau).metric, bar.update)
    seconds = float(data.attrs.get("run_seconds", np.nan))
    return Entry(method, setting, needs, judged, seconds, samples if pace.counts_samples else 0)


def axes_of(method: str, settings: Any) -> list[str]:
    """The axes of `--search` that a method has."""
    known = tuning.options_of(getattr(algorithms, method))
    return [a for a in settings.search if tuning.is_rate(_tune.axis_of(a)) or _tune.axis_of(a) in known]


def tune(
    problem: Any, method: str, request: Request, configuration: Mapping[str, Any], folder: Path, horizon: int
) -> Setting:
    """Search one method's settings; `horizon` is in steps for a method that uses no samples."""
    settings, tau = request.settings, configuration["judge"]
    builder = getattr(algorithms, method)
    own = search_settings(settings, horizon, axes_of(method, settings))
    space = _tune_run.space_of(builder, own, {}, algorithms.needs(method))
    searched = runs.identity(configuration, grows=_compare.GROWS) | {"method": method, **vars(own)}
    kept = tuning.FinishedRungs(folder / runs.CHECKPOINTS / method, searched)
    (folder / SEARCH).mkdir(exist_ok=True)
    with runs.deferred_interrupts() as asked:
        log_file = folder / SEARCH / f"{method}.csv"
        log = _tune_run.search(problem, builder, space, own, tau, method, log_file, asked, kept, folder)
    _tune_run.write_best(folder / SETTINGS / f"{method}.json", request, tau, method, log[-1][0])
    if settings.figures:
        with runs.drawing(settings.quiet):
            figure = plots.search(log, f"{request.problem}, {method}", tau)
            plots.save(figure, folder / "figures" / f"search_{method}.png")
    return log[-1][0].setting


def search_settings(settings: Any, horizon: int, axes: Sequence[str] = ()) -> SimpleNamespace:
    """The settings of `hfac tune` for one method's search, whose longest runs take `horizon` samples or steps."""
    shared = ("design", "rounds", "rungs", "reduction", "search_seed", "quiet")
    return SimpleNamespace(
        samples=horizon,
        budget=round(settings.budget * horizon / settings.samples),
        seeds=settings.tuning_seeds,
        first_seed=_tune.Tune.first_seed,
        search=axes,
        **{name: getattr(settings, name) for name in shared},
    )


def reference_values(entry: Entry, problem: Any, tau: float, quiet: bool) -> tuple[float, float]:
    """Objective at the start, and the lowest that is known; the best of the runs where nothing is known."""
    values = entry.data[judging.OBJECTIVE].isel(judged_tau=0)
    start = float(values.isel(step=0).mean())
    reference = judging.judge_of(problem, tau).reference
    if reference is None:
        return start, float(values.min())
    with progress("descending the exact objective", None, "pieces", quiet) as bar:
        end = reference(bar.update)
    return start, float(np.ravel(end)[0])


def report(
    problem: Any,
    kind: str,
    group: Sequence[Entry],
    hfac: Entry,
    target: float,
    reference: float,
    tau: float,
    settings: Any,
    folder: Path,
) -> None:
    """One table and one figure of methods that can be compared."""
    with_hfac = list(group) if group[0] is hfac else [hfac, *group]
    rows = [comparison.cells(row, target) for row in comparison.table(with_hfac, target)]
    comparison.write_csv(folder / f"table_{kind}.csv", rows)
    title = "methods that use samples" if kind == "samples" else "methods that need the model, beside hfac"
    judged = f"Phi at tau = {tau:g}, {settings.seeds} seeds; exact descent {reference:.4f}"
    print(f"\n{problem.name}, {title}: {judged}")
    print("\n".join(comparison.lines(rows)))
    if settings.figures:
        with runs.drawing(settings.quiet):
            figure = plots.comparison(with_hfac, problem.name, tau, reference, target)
            plots.save(figure, folder / "figures" / f"compare_{kind}.png")
