"""What a finished sweep shows: judged records, a table, figures, and the runs that failed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from hfac import comparison, exact, metrics, plots, results, statistics
from hfac.cli._progress import Progress, clock, say
from hfac.tabular.problem import Problem
from hfac.types import Status


def judge_and_report(
    data: xarray.Dataset, problem: Problem, taus: Sequence[float], folder: Path, figures: bool, quiet: bool
) -> None:
    """Judge the records exactly, store the metrics, print the table, write summary.csv and the figures."""
    num_runs = data["status"].isel(step=0).size
    progress = Progress(num_runs, "runs judged exactly", quiet)
    judged = results.judge(data, metrics.exact(problem, taus), lambda done, total: progress.update(done))
    say(f"judged in {clock(progress.close())}; descending the exact objective for the reference lines", quiet)
    progress = Progress(1, "pieces of the exact descents", quiet)
    lowest = exact.minimize(problem, taus, progress=lambda done, total: progress.update(done, total=total)).value
    progress.close()
    references = dict(zip(map(float, taus), lowest.tolist(), strict=True))
    judged = judged.assign_coords(reference=("judged_tau", [references[float(tau)] for tau in taus]))
    results.save(judged, folder / "results.zarr")
    rows = results.summary(judged)
    comparison.write_csv(folder / "summary.csv", rows)
    if not quiet:
        print_table(rows, references)
    list_failures(judged, quiet)
    if figures:
        with drawing(quiet):
            plots.save_all(judged, problem, references, folder / "figures")


@contextlib.contextmanager
def drawing(quiet: bool) -> Iterator[None]:
    """Figures never decide a run: what goes wrong with one, short of a full disk, is a note."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        say(f"note: a figure could not be drawn: {type(error).__name__}: {' '.join(str(error).split())[:200]}", quiet)


def print_table(rows: Sequence[Mapping[str, Any]], references: Mapping[float, float]) -> None:
    """One line per configuration and judged tau, to stdout."""
    labels = [
        key
        for key in rows[0]
        if key
        not in ("interquartile_mean", "low", "high", "worst", "diverged", "seeds", "samples", "judged_tau", "reference")
    ]
    head = [*labels, "judged at", "samples", "interquartile mean [95 %]", "worst", "diverged", "exact descent"]
    table = [
        [
            *(f"{row[label]:.4g}" for label in labels),
            f"{row['judged_tau']:g}",
            f"{row['samples']:.3g}",
            statistics.format_interval(row["interquartile_mean"], row["low"], row["high"]),
            f"{row['worst']:.4f}" if np.isfinite(row["worst"]) else "diverged",
            f"{row['diverged']} of {row['seeds']}",
            f"{references[row['judged_tau']]:.4f}",
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *table]) for i in range(len(head))]
    for line in [head, *table]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def list_failures(data: xarray.Dataset, quiet: bool, at_most: int = 10) -> None:
    """Say which runs diverged, with configuration and first bad step."""
    status = data["status"].isel(step=-1)
    failed = np.argwhere(status.values != Status.OK)
    for where in failed[:at_most]:
        pick = dict(zip(status.dims, (int(i) for i in where), strict=True))
        run = data.isel(pick)
        config = plots.describe(data, {str(dim): i for dim, i in pick.items() if dim != "seed"})
        meaning = Status(int(status.isel(pick))).meaning
        say(
            f"diverged: {config}, seed {int(run['seed'])}, at step {int(run['failed_at'].isel(step=-1)):,}: {meaning}",
            quiet,
        )
    if len(failed) > at_most:
        say(f"diverged: {len(failed) - at_most} more", quiet)
