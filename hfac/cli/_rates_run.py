"""Running a rate measurement: the sweep with all tables recorded, judging, fits, table, figure."""

from collections.abc import Sequence
from typing import Any

import jax

from hfac import comparison, diagnostics, plots, results, schedules
from hfac.cli import InputError, _rates, _sweep, _sweep_report, _sweep_run, as_input_error
from hfac.cli._progress import Progress, clock, say
from hfac.cli._request import Request
from hfac.diagnostics import Fit
from hfac.engine import record_points


def execute(request: Request) -> None:
    """Run, judge and fit; everything is checked before anything is written."""
    settings = request.settings
    if getattr(request.algorithm_options, "difference", "forward") != "forward":
        raise InputError("--algorithm.difference: rates measures the residuals of the forward difference only")
    with as_input_error("--window: "):
        diagnostics.inside(record_points(settings.steps)[1:], settings.fitted)
    job = _sweep_run.prepare(request)
    request, settings = job.request, job.request.settings
    with _sweep.work(request, f"rates-{request.problem}") as folder:
        _sweep_run.introduce(job, request)
        if not _sweep_run.run_recorded(job, request, folder, "rates.csv"):
            return
        data = _sweep_run.load(job, folder)
        progress = Progress(job.num_runs, "runs judged exactly", settings.quiet)
        metric = diagnostics.metric(job.problem, settings.judge[0])
        judged = results.judge(data, metric, lambda done, total: progress.update(done))
        say(f"judged in {clock(progress.close())}", settings.quiet)
        results.save(judged, folder / "results.zarr")

        rows: list[dict[str, Any]] = []
        picks = plots.configurations(judged)
        for i, pick in enumerate(picks):
            own = jax.tree.map(lambda leaf, i=i: float(leaf[i]), job.grid[0])
            balance, words = schedules.balance(own), str(own)
            fits = diagnostics.fit_rates(judged.isel(pick), balance, settings.fitted)
            print(f"{words}\ntheory: {balance}\n" + "\n".join(lines(fits)))
            rows += [_row(words, fit, settings) for fit in fits]
            if settings.figures:
                title = f"{request.problem}, {settings.algorithm}: {settings.steps:,} steps\n{words}"
                with _sweep_report.drawing(settings.quiet):
                    figure = plots.rates(judged.isel(pick), fits, settings.fitted, title)
                    plots.save(figure, folder / "figures" / (f"rates_{i}.png" if len(picks) > 1 else "rates.png"))
        comparison.write_csv(folder / "rates.csv", rows)
        _sweep_report.list_failures(judged, settings.quiet)
        drawn = ", figures/" if settings.figures else ""
        say(f"written to {folder}/: config.json, results.zarr, rates.csv{drawn}", settings.quiet)


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
