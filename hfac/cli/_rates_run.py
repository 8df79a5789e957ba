"""Running a rate measurement: the sweep with all tables recorded, judging, fits, table, figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfac import comparison, diagnostics, pages, plots, results, runs, schedules
from hfac._errors import InputError, as_input_error
from hfac._progress import clock, progress, say, waiting
from hfac.cli import _rates, _sweep_run
from hfac.cli._request import Request
from hfac.diagnostics import Fit
from hfac.engine import record_points
from hfac.pages import Measured, Page
from hfac.runs import Execution, Job, Report

if TYPE_CHECKING:
    import xarray

TABLE = "rates.csv"
JUDGED = "hypergradient_square"  # a variable that judging adds


def execute(request: Request) -> None:
    """Run, judge and fit; everything is checked before anything is written."""
    settings = request.settings
    if getattr(request.algorithm_options, "difference", "forward") != "forward":
        raise InputError("--algorithm.difference: rates measures the residuals of the forward difference only")
    with as_input_error("--window: "):
        diagnostics.inside(record_points(settings.steps)[1:], settings.fitted)
    job, execution = _sweep_run.prepare(request)
    check_one_problem(job, "rates")
    if not request.is_resumed and execution.processes.is_first:
        runs.check_new(settings.out, job.configuration)
    runs.check_memory(job, execution, settings.out if request.is_resumed else None)
    stem = f"rates-{request.name}"
    with runs.open_folder(
        job.configuration, settings.out, stem, is_new=not request.is_resumed, processes=execution.processes
    ) as folder:
        runs.announce(job, execution.quiet)
        if not runs.record(job, folder, execution, TABLE):
            return
        judged = judge(job, runs.load(job, folder, execution.quiet), folder, execution.quiet)
        done = show(request, job, judged, folder, execution)
        print("\n".join(done.lines))
        say(f"written to {folder}/: {', '.join((runs.CONFIG, runs.RESULTS, *done.files))}", execution.quiet)


def report(request: Request, _: Sequence[float]) -> Report:
    """Fit again what a folder holds, and write table and figures; what is judged is not judged again.

    Raises:
      InputError: if the run is not finished.
    """
    job, execution = _sweep_run.prepare(request)
    folder = request.settings.out
    data = runs.load(job, folder, execution.quiet)
    is_judged = JUDGED in data and data["judged_tau"].values.tolist() == [job.judge[0]]
    judged = data if is_judged else judge(job, data, folder, execution.quiet)
    return show(request, job, judged, folder, execution)


def judge(job: Job, data: "xarray.Dataset", folder: Path, quiet: bool) -> "xarray.Dataset":
    """Gradients and residuals of every record, which are stored too."""
    metric = diagnostics.metric(job.problem, job.judge[0])
    with progress("judging", job.num_runs, "runs", quiet) as bar:
        judged = results.judge(data, metric, bar.update)
    say(f"judged in {clock(bar.seconds)}", quiet)
    with waiting("writing what was judged", quiet):
        results.save(judged, folder / runs.RESULTS)
    return judged


def show(request: Request, job: Job, judged: "xarray.Dataset", folder: Path, execution: Execution) -> Report:
    """Fit every configuration; write the table and the figures."""
    settings = request.settings
    said: list[str] = []
    rows: list[dict[str, Any]] = []
    measured = []
    picks = plots.configurations(judged)
    for i, pick in enumerate(picks):
        own, one = job.grid.one(i), judged.isel(pick)
        balance, words = schedules.balance(own), str(own)
        with waiting("fitting rates", execution.quiet):
            fits = diagnostics.fit_rates(one, balance, settings.fitted)
        measured.append(Measured(words, one, balance, fits))
        said += [words, f"theory: {balance}", *lines(fits)]
        rows += [_row(words, fit, settings) for fit in fits]
        if execution.figures:
            title = f"{request.name}, {request.method}: {settings.steps:,} steps\n{words}"
            with runs.drawing(execution.quiet):
                figure = plots.rates(one, fits, settings.fitted, title)
                plots.save(figure, folder / "figures" / (f"rates_{i}.png" if len(picks) > 1 else "rates.png"))
    comparison.write_csv(folder / TABLE, rows)
    runs.list_failures(judged, execution.quiet)

    def page() -> Page:
        origin = pages.origin(job.configuration, judged.attrs)
        return pages.rates([judged], measured, settings.fitted, request.name, request.method, origin)

    return Report(judged, tuple(said), (TABLE, *(["figures/"] if execution.figures else [])), page)


def check_one_problem(job: Job, command: str) -> None:
    """Raise `InputError` unless a job is about one tabular problem."""
    if len(job.variants) > 1:
        raise InputError(f"--{job.axes.dims[0].replace('_', '-')}: hfac {command} takes one problem, not a list")
    if job.problem.kind != "tabular":
        raise InputError(f"hfac {command} needs a tabular problem, and {job.problem.name} is none")


def lines(fits: Sequence[Fit]) -> list[str]:
    """The fits as an aligned table."""
    head = ("exponent of k", "slope [95 %]", "theory", "verdict")
    table = [
        (
            fit.meaning,
            fit.slope.format(3),
            "" if fit.predicted is None else f"{fit.predicted:+.3f}",
            fit.verdict,
        )
        for fit in fits
    ]
    widths = [max(len(line[i]) for line in [head, *table]) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *table]]


def _row(words: str, fit: Fit, settings: _rates.Rates) -> dict[str, Any]:
    return {
        "configuration": words,
        "quantity": fit.quantity,
        "slope": float(fit.slope.estimate),
        "low": float(fit.slope.low),
        "high": float(fit.slope.high),
        "theory": "" if fit.predicted is None else fit.predicted,
        "verdict": fit.verdict,
        "first_step": settings.fitted[0],
        "last_step": settings.fitted[1],
        "seeds": settings.seeds,
    }
