"""Running a comparison: every method tuned alike, run on the same seeds, judged, tabulated, drawn."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hfac import _files, algorithms, comparison, judging, pages, plots, results, runs, statistics, tuning
from hfac._errors import InputError, Stopped, as_input_error
from hfac._progress import clock, progress, say, waiting
from hfac.cli import _compare, _config, _sweep_run, _tune, _tune_run
from hfac.cli._request import Request
from hfac.comparison import Entry
from hfac.pages import Group, Page
from hfac.runs import Execution, Job, Report, Variant
from hfac.schedules import Coordinates, single
from hfac.settings import RATE_SETTINGS, find
from hfac.tuning import Setting
from hfac.types import Algorithm

if TYPE_CHECKING:
    import xarray

TARGET_SHARE = 0.9  # of the way from the start to the exact descent
FINISHED = "finished.json"
SETTINGS, SEARCH, METHODS, JUDGED = "settings", "search", "methods", "results"  # folders


def execute(request: Request) -> None:
    """Tune, run, judge, tabulate and draw; each method's search and runs are stored as they come."""
    execution = _sweep_run.begin(request)
    request = with_budget(request)
    problem, configuration = _tune_run.configured(request)
    settings, name, tau = request.settings, request.name, configuration["judge"]
    methods = ["hfac", *(method for method in settings.algorithms if method != "hfac")]
    given = read_settings(settings.settings, request.problem, methods)
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
        levels = Levels(start, reference, target)
        done = show(request, configuration, entries, levels, folder)
        finished = {"of": _compared(configuration), "levels": levels._asdict()}
        _files.replace(folder / FINISHED, json.dumps(finished, indent=2) + "\n")
        print("\n".join(done.lines))
        say(f"written to {folder}/: {', '.join((runs.CONFIG, *done.files))}", settings.quiet)


def _compared(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration says whether a comparison is finished."""
    names = ("samples", "model_steps", "seeds", "first_seed", "algorithms", "target", "judge")
    found: dict[str, Any] = json.loads(json.dumps({name: configuration[name] for name in names}))
    return found


def report(request: Request, _: Sequence[float]) -> Report:
    """Tabulate and draw again what a finished comparison holds.

    Raises:
      InputError: if it is not finished, or was made before this version.
    """
    _sweep_run.begin(request)
    _, configuration = _tune_run.configured(request)
    folder = request.settings.out
    try:
        content = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = {}
    if content.get("of") != _compared(configuration):
        raise InputError(f"{folder} holds a comparison that is not finished; `hfac resume {folder}` goes on with it")
    methods = ["hfac", *(method for method in request.settings.algorithms if method != "hfac")]
    with as_input_error():
        data = {method: results.load(folder / JUDGED / f"{method}.zarr") for method in methods}
    settings = stored_settings(folder, methods)
    entries = [
        _entry(
            method, settings[method], data[method], configuration["samples"], bool(data[method]["samples"].max() > 0)
        )
        for method in methods
    ]
    return show(request, configuration, entries, Levels(**content["levels"]), folder)


def _entry(method: str, setting: Setting, judged: "xarray.Dataset", samples: int, counts_samples: bool) -> Entry:
    seconds = float(judged.attrs.get("run_seconds", np.nan))
    return Entry(method, setting, algorithms.needs(method), judged, seconds, samples if counts_samples else 0)


class Levels(NamedTuple):
    """Objectives that methods are compared with."""

    start: float
    reference: float  # the lowest known
    target: float


GROUPS = {"samples": "methods that use samples", "model": "methods that need the model, beside hfac"}


def show(
    request: Request, configuration: Mapping[str, Any], entries: Sequence[Entry], levels: Levels, folder: Path
) -> Report:
    """One table and one figure of methods that can be compared."""
    settings, name, tau = request.settings, request.name, configuration["judge"]
    said: list[str] = []
    files: list[str] = []
    groups = []
    for kind, title in GROUPS.items():
        group = [entry for entry in entries if entry.needs.model == (kind == "model")]
        if not group:
            continue
        with_hfac = group if group[0] is entries[0] else [entries[0], *group]
        groups.append(Group(title[0].upper() + title[1:], with_hfac))
        rows = [comparison.cells(row, levels.target) for row in comparison.table(with_hfac, levels.target)]
        files.append(f"table_{kind}.csv")
        comparison.write_csv(folder / files[-1], rows)
        judged = f"Phi at tau = {tau:g}, {settings.seeds} seeds; exact descent {levels.reference:.4f}"
        said += ["", f"{name}, {title}: {judged}", *comparison.lines(rows)]
        if settings.figures:
            with runs.drawing(settings.quiet):
                figure = plots.comparison(with_hfac, name, tau, levels.reference, levels.target)
                plots.save(figure, folder / "figures" / f"compare_{kind}.png")

    def page() -> Page:
        origin = pages.origin(configuration, entries[0].data.attrs)
        return pages.comparison(groups, name, tau, levels.reference, levels.target, origin)

    files += [f"{SETTINGS}/", f"{SEARCH}/", f"{JUDGED}/", *(["figures/"] if settings.figures else [])]
    return Report(entries, tuple(said), tuple(files), page)


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
    tau, samples = configuration["judge"], configuration["samples"]
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
    return _entry(method, setting, judged, samples, pace.counts_samples)


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
            figure = plots.search(log, f"{request.name}, {method}", tau)
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
