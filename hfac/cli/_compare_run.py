"""Running a comparison: every method tuned alike, run on the same seeds, judged, tabulated, drawn."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hfac import _files, _random, algorithms, comparison, exact, plots, results, statistics, tuning
from hfac.cli import InputError, _config, _sweep, _sweep_report, _sweep_run, _tune, _tune_run, as_input_error
from hfac.cli._interrupts import Interrupts, held_back
from hfac.cli._progress import Progress, clock, say
from hfac.cli._request import Request
from hfac.comparison import Entry
from hfac.tabular.problem import Problem
from hfac.tuning import Setting

TARGET_SHARE = 0.9  # of the way from the start to the exact descent


def execute(request: Request) -> None:
    """Tune, run, judge, tabulate and draw; each method's results are stored as they come."""
    problem, request = _sweep_run.build_problem(request)
    settings, name = request.settings, request.problem
    methods = ["hfac", *(method for method in settings.algorithms if method != "hfac")]
    given = read_settings(settings.settings, name, methods)
    for method in methods:
        with as_input_error(f"--algorithms: {method}: "):
            getattr(algorithms, method)(problem, **(given[method].options if method in given else {}))
    if not set(methods) <= set(given):
        _tune_run.plan_of(search_settings(settings, settings.samples))
    with _sweep.work(request, f"compare-{name}") as folder:
        with held_back() as asked:
            entries = run_all(problem, methods, given, request, folder, asked)
        start, reference = reference_values(problem, settings.judge, settings.quiet)
        target = settings.target
        if target is None:
            target = start + TARGET_SHARE * (reference - start)
        groups = {
            "samples": [entry for entry in entries if not entry.needs.model],
            "model": [entry for entry in entries if entry.needs.model],
        }
        for kind, group in groups.items():
            if group:
                report(problem, kind, group, entries[0], target, reference, request, folder)
        drawn = ", figures/" if settings.figures else ""
        say(f"written to {folder}/: config.json, table_*.csv, settings/, search/, results/{drawn}", settings.quiet)


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
        flags = {_tune.axis_name(key): value for key, value in content.items()}
        rates = {name: float(flags[name]) for name in tuning.SETTINGS if name in flags}
        found[method] = Setting(dict(content.get("algorithm_options", {})), rates)
    return found


def run_all(
    problem: Problem,
    methods: Sequence[str],
    given: dict[str, Setting],
    request: Request,
    folder: Path,
    asked: Interrupts,
) -> list[Entry]:
    """Tune and run every method in turn, hfac first."""
    settings = request.settings
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    entries: list[Entry] = []
    num_steps = settings.model_steps
    for method in methods:
        has_samples = not algorithms.needs(method).model
        setting = given.get(method)
        if setting is None:
            setting = tune(problem, method, request, folder, num_steps if not has_samples else 0, asked)
        progress = Progress(1, "steps", settings.quiet)

        def show(done: int, total: int, method: str = method, progress: Progress = progress) -> None:
            progress.update(done, method, total=total)
            if asked.is_set:
                raise KeyboardInterrupt(f"stopped; {folder} holds the methods that were finished")

        with as_input_error(f"{method}: "):
            entry = comparison.run(
                problem, method, setting, settings.judge, seeds, settings.samples, num_steps or None, show
            )
        progress.close()
        num_steps = num_steps or int(entry.data["step"][-1])
        (folder / "results").mkdir(exist_ok=True)
        results.write(entry.data, folder / "results" / f"{method}.zarr")
        worth = statistics.interquartile_mean(entry.worth())
        say(f"{method}: {worth:.4f}, {settings.seeds} seeds in {clock(entry.seconds)}", settings.quiet)
        entries.append(entry)
    return entries


def tune(problem: Problem, method: str, request: Request, folder: Path, num_steps: int, asked: Interrupts) -> Setting:
    """Search one method's settings; `num_steps` is the horizon of a method that uses no samples."""
    settings = request.settings
    builder = getattr(algorithms, method)
    options = tuning.options_of(builder)
    axes = [a for a in settings.search if tuning.is_rate(_tune.axis_of(a)) or _tune.axis_of(a) in options]
    own = search_settings(settings, num_steps or settings.samples, axes)
    space = _tune_run.space_of(builder, own, {}, algorithms.needs(method))
    (folder / "search").mkdir(exist_ok=True)
    log = _tune_run.search(problem, builder, space, own, method, folder / "search" / f"{method}.csv", asked)
    (folder / "settings").mkdir(exist_ok=True)
    _tune_run.write_best(folder / "settings" / f"{method}.json", request, method, log[-1][0])
    if settings.figures:
        with _sweep_report.drawing(settings.quiet):
            figure = plots.search(log, f"{request.problem}, {method}", settings.judge)
            plots.save(figure, folder / "figures" / f"search_{method}.png")
    return log[-1][0].setting


def search_settings(settings: Any, horizon: int, axes: Sequence[str] = ()) -> SimpleNamespace:
    """The settings of `hfac tune` for one method's search, whose longest runs take `horizon` samples or steps."""
    shared = ("design", "rounds", "rungs", "reduction", "search_seed", "judge", "quiet")
    budget = settings.budget or _tune.RUNS_PAID_FOR * settings.samples
    return SimpleNamespace(
        samples=horizon,
        budget=round(budget * horizon / settings.samples),
        seeds=settings.tuning_seeds,
        first_seed=_tune.Tune.first_seed,
        search=axes,
        **{name: getattr(settings, name) for name in shared},
    )


def reference_values(problem: Problem, tau: float, quiet: bool) -> tuple[float, float]:
    """Hyper-objective of the start, and the end of an exact descent."""
    progress = Progress(1, "pieces of the exact descent", quiet)
    end = exact.minimize(problem, tau, progress=lambda done, total: progress.update(done, total=total)).value
    progress.close()
    start = exact.hyper_objective(problem, problem.first_x(_random.key(0)), tau)
    return float(start), float(end)


def report(
    problem: Problem,
    kind: str,
    group: Sequence[Entry],
    hfac: Entry,
    target: float,
    reference: float,
    request: Request,
    folder: Path,
) -> None:
    """One table and one figure of methods that can be compared."""
    settings = request.settings
    with_hfac = list(group) if group[0] is hfac else [hfac, *group]
    rows = [comparison.cells(row, target) for row in comparison.table(with_hfac, target)]
    comparison.write_csv(folder / f"table_{kind}.csv", rows)
    title = "methods that use samples" if kind == "samples" else "methods that need the model, beside hfac"
    judged = f"Phi at tau = {settings.judge:g}, {settings.seeds} seeds; exact descent {reference:.4f}"
    print(f"\n{problem.name}, {title}: {judged}")
    print("\n".join(comparison.lines(rows)))
    if settings.figures:
        with _sweep_report.drawing(settings.quiet):
            figure = plots.comparison(with_hfac, problem.name, settings.judge, reference, target)
            plots.save(figure, folder / "figures" / f"compare_{kind}.png")
