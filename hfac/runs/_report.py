"""What a finished job shows: its records judged, a table, figures, and the runs that failed."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray

from hfac import plots
from hfac._errors import as_input_error
from hfac._progress import say, waiting
from hfac._registry import load
from hfac.pages import Page
from hfac.runs._execution import Execution
from hfac.runs._job import Job

REPORTS = {  # what a problem says it is reported as -> what reports it
    "finetune": "hfac.runs._finetune_report:report",
    "objective": "hfac.runs._objective_report:report",
    "tweets": "hfac.runs._tweets_report:report",
}
SUMMARY, FIGURES = "summary.csv", "figures"


class Report(NamedTuple):
    """A finished job, judged."""

    data: Any  # judged records, or what a command found
    lines: tuple[str, ...]  # the table
    files: tuple[str, ...]  # that were written
    page: Callable[[], Page]  # the same to look at in a browser; nothing is computed before it is asked for


def report(job: Job, data: xarray.Dataset, folder: Path, taus: Sequence[float], execution: Execution) -> Report:
    """Judge the records, store the metrics, write the table and the figures.

    Args:
      job: that has run.
      data: its records.
      folder: to write to.
      taus: entropy weights to judge at, > 0.
      execution: figures or none, quiet or not.

    Raises:
      InputError: if the problem cannot be judged there.
    """
    write = load(REPORTS[getattr(job.problem, "reported_as", "objective")])
    with as_input_error():
        return write(job, data, folder, taus, execution)


@contextlib.contextmanager
def drawing(quiet: bool) -> Iterator[None]:
    """Figures never decide a run: what goes wrong with one, short of a full disk, is a note."""
    try:
        with waiting("drawing", quiet):
            yield
    except OSError:
        raise
    except Exception as error:
        say(f"note: a figure could not be drawn: {type(error).__name__}: {' '.join(str(error).split())[:200]}", quiet)


def list_failures(data: xarray.Dataset, quiet: bool, at_most: int = 10) -> None:
    """Say which runs diverged, with configuration and first bad step."""
    shown, count = plots.failures(data, at_most)
    for one in shown:
        say(f"diverged: {one.configuration}, seed {one.seed}, at step {one.step:,}: {one.meaning}", quiet)
    if count > at_most:
        say(f"diverged: {count - at_most} more", quiet)
