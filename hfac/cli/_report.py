"""``hfac report DIR``: table and figures of a stored run, judged again if asked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hfac._errors import InputError, as_input_error
from hfac._progress import say, waiting
from hfac.cli import parse
from hfac.cli._commands import those_that
from hfac.cli._values import Numbers


@dataclasses.dataclass(frozen=True)
class Report:
    """Settings of a report."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a sweep, or of a run of tweets."""
    judge: Annotated[Numbers, tyro.conf.arg(help_behavior_hint="(default: the run's own)")] = ()
    """Entropy weights tau to judge at, > 0."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(Report, args, "hfac report", "Print the table of a stored run and draw its figures again.")
    if not (settings.dir / "config.json").is_file():
        raise InputError(f"{settings.dir} holds no run: config.json is missing")
    if any(not tau > 0 for tau in settings.judge):
        raise InputError(f"--judge must be positive, got {min(settings.judge):g}")
    from hfac import results, runs
    from hfac.cli import _resume, _sweep_run

    stored = runs.read_config(settings.dir)
    if stored["command"] not in (able := those_that("can_report")):
        raise InputError(f"{settings.dir} holds a run of `hfac {stored['command']}`; report takes {' and '.join(able)}")
    with runs.locked(settings.dir), runs.reported(settings.dir, can_resume=False):
        request = _resume.request_of(stored)
        own = dataclasses.replace(request.settings, figures=settings.figures, quiet=settings.quiet, out=settings.dir)
        job, execution = _sweep_run.prepare(request._replace(settings=own, is_resumed=True))
        with waiting("reading the records", settings.quiet), as_input_error():
            data = results.load(settings.dir / runs.RESULTS)
        reached = int(data["step"][-1])
        if reached < job.steps:
            say(f"note: the run is at step {reached:,} of {job.steps:,}; `hfac resume {settings.dir}` goes on with it")
        done = runs.report(job, data, settings.dir, settings.judge or job.judge, execution)
    if not settings.quiet:
        print("\n".join(done.lines))
