"""The report of a job by its objective: judged records, one row per configuration, curves."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from hfac import comparison, judging, pages, plots, results, statistics
from hfac._places import short
from hfac._progress import clock, progress, say, waiting
from hfac.judging import Judge
from hfac.pages import Page
from hfac.runs._execution import Execution
from hfac.runs._folder import RESULTS
from hfac.runs._job import Job
from hfac.runs._report import FIGURES, SUMMARY, Report, drawing, list_failures

BELOW = 0.05  # of what an exact descent gains, that a run ends below its end
STILL = 1e-3  # of its value, a change of f that is none
NOT_LABELS = ("interquartile_mean", "low", "high", "worst", "diverged", "seeds", "samples", "judged_tau", "reference")


def report(job: Job, data: xarray.Dataset, folder: Path, taus: Sequence[float], execution: Execution) -> Report:
    """Judge every record, beside the lowest objective known where there is one; store, tabulate, draw."""
    quiet = execution.quiet
    judges = [judging.judge_of(variant.problem, taus) for variant in job.variants]
    judged = judge(job, data, judges, quiet)
    if judges[0].reference is not None:
        say("descending the exact objective for the reference lines", quiet)
    lowest = references(job, judges, len(taus), quiet)
    judged = judged.assign_coords(reference=((*job.axes.dims, "judged_tau"), lowest))
    with waiting("writing what was judged", quiet):
        results.save(judged, folder / RESULTS)
    with waiting("summarising", quiet):
        rows = results.summary(judged)
    comparison.write_csv(folder / SUMMARY, rows)
    for note in plateaus(judged):
        say(note, quiet)
    list_failures(judged, quiet)
    if execution.figures:
        with drawing(quiet):
            draw(job, judged, folder / FIGURES)
    files = (SUMMARY, *([f"{FIGURES}/"] if execution.figures else []))

    def page() -> Page:
        variants = [(pick, variant.problem) for variant, pick in zip(job.variants, _picks(job), strict=True)]
        origin = pages.origin(job.configuration, judged.attrs)
        return pages.sweep(judged, variants, short(job.configuration["algorithm"]), origin)

    return Report(judged, tuple(lines(rows)), files, page)


def judge(job: Job, data: xarray.Dataset, judges: Sequence[Judge], quiet: bool) -> xarray.Dataset:
    """Records judged, those of every problem by its own judge."""
    pieces: list[xarray.Dataset] = []
    with progress("judging", job.num_runs, "runs", quiet) as bar:

        def show(own: int, _: int) -> None:
            bar.update(len(pieces) * job.runs_per_variant + own)

        for judge, pick in zip(judges, _picks(job), strict=True):
            pieces.append(results.judge(data.isel(pick), judge.metric, show))
    say(f"judged in {clock(bar.seconds)}", quiet)
    return _joined(pieces, job.axes.dims, job.axes.shape).assign_attrs(data.attrs)


def _picks(job: Job) -> list[dict[str, int]]:
    """Where the records of every problem stand."""
    return [dict(zip(job.axes.dims, where, strict=True)) for where in np.ndindex(*job.axes.shape)]


def _joined(pieces: list[xarray.Dataset], dims: Sequence[str], shape: Sequence[int]) -> xarray.Dataset:
    """Datasets in the order of a grid as one dataset with its dimensions."""
    for dim, size in zip(reversed(dims), reversed(shape), strict=True):
        groups = [pieces[i : i + size] for i in range(0, len(pieces), size)]
        pieces = [xarray.concat(group, dim, data_vars="all", coords="minimal", compat="override") for group in groups]
    return pieces[0]


def references(job: Job, judges: Sequence[Judge], num_taus: int, quiet: bool) -> np.ndarray:
    """Lowest objective known of every problem at every tau, [..., taus]; nan where none is known."""
    found: list[np.ndarray] = []
    with progress("descending the exact objective", None, "pieces", quiet) as bar:

        def show(done: int, total: int) -> None:
            bar.update(len(found) * total + done, len(judges) * total)

        for judge in judges:
            found.append(np.full(num_taus, np.nan) if judge.reference is None else judge.reference(show))
    return np.reshape(found, (*job.axes.shape, num_taus))


def plateaus(judged: xarray.Dataset) -> list[str]:
    """Notes on entropy weights at which an exact descent stood still, or ended early, and a run did not."""
    notes = []
    for tau in judged["judged_tau"].values:
        own = judged[judging.OBJECTIVE].sel(judged_tau=tau)
        lowest = float(judged["reference"].sel(judged_tau=tau).min())
        start, end = float(own.isel(step=0).min()), float(own.isel(step=-1).min())
        still = STILL * abs(lowest)
        if abs(start - lowest) <= still and end < lowest - still:
            notes.append(
                f"note: at tau = {tau:g} the exact descent stays where it starts, {lowest:.4g}, and a run ends at "
                f"{end:.4g}: f hardly changes there at first; judge at a larger weight, --judge"
            )
        elif end < lowest - BELOW * abs(start - lowest) - still:
            notes.append(
                f"note: at tau = {tau:g} a run ends at {end:.4g}, below the exact descent's {lowest:.4g}, which "
                "stopped in a local minimum: its line is no bound"
            )
    return notes


def draw(job: Job, judged: xarray.Dataset, folder: Path) -> None:
    """Every figure that applies, in a folder of its own for each problem where there are several."""
    for variant, pick in zip(job.variants, _picks(job), strict=True):
        own = judged.isel(pick)
        lowest = dict(zip(map(float, own["judged_tau"].values), own["reference"].values.tolist(), strict=True))
        name = "_".join(f"{dim.partition('.')[2]}={float(own[dim]):g}" for dim in pick)
        plots.save_all(own, variant.problem, lowest, folder / name if name else folder)


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per configuration and judged tau."""
    labels = [key for key in rows[0] if key not in NOT_LABELS]
    head = [*labels, "judged at", "samples", "interquartile mean [95 %]", "worst", "diverged"]
    has_reference = any(np.isfinite(row["reference"]) for row in rows)
    cell: Callable[[float], str] = "{:.4f}".format
    table = [
        [
            *(f"{row[label]:.4g}" for label in labels),
            f"{row['judged_tau']:g}",
            f"{row['samples']:.3g}",
            statistics.format_interval(row["interquartile_mean"], row["low"], row["high"]),
            cell(row["worst"]) if np.isfinite(row["worst"]) else "diverged",
            f"{row['diverged']} of {row['seeds']}",
            *([cell(row["reference"])] if has_reference else []),
        ]
        for row in rows
    ]
    head += ["exact descent"] if has_reference else []
    widths = [max(len(line[i]) for line in [head, *table]) for i in range(len(head))]
    return ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in [head, *table]]
