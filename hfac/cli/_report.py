"""``hfac report DIR``: table, figures and a page of what a folder holds, judged again if asked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hfac import _files
from hfac._errors import InputError
from hfac._progress import say
from hfac._registry import load
from hfac.cli import parse
from hfac.cli._commands import COMMANDS, those_that
from hfac.cli._values import Numbers


@dataclasses.dataclass(frozen=True)
class Report:
    """Settings of a report."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a run of any command."""
    judge: Annotated[Numbers, tyro.conf.arg(help_behavior_hint="(default: the run's own)")] = ()
    """Entropy weights tau to judge a sweep at, > 0."""
    html: bool = False
    """Write DIR/report.html too: curves, tables, statuses, settings and provenance in one file that needs no network.
    It takes plotly (pip install plotly)."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(
        Report, args, "hfac report", "Print the table of a stored run, draw its figures again, write a page of it."
    )
    if not (settings.dir / "config.json").is_file():
        raise InputError(f"{settings.dir} holds no run: config.json is missing")
    if any(not tau > 0 for tau in settings.judge):
        raise InputError(f"--judge must be positive, got {min(settings.judge):g}")
    from hfac import pages, runs
    from hfac.cli import _resume

    stored = runs.read_config(settings.dir)
    if stored["command"] not in (able := those_that("report")):
        raise InputError(f"{settings.dir} holds a run of `hfac {stored['command']}`; report takes {', '.join(able)}")
    if settings.judge and stored["command"] != "sweep":
        raise InputError(
            f"--judge: a run of `hfac {stored['command']}` keeps its entropy weight; sweeps are judged again"
        )
    if settings.html:
        pages.plotting_library()  # before anything is computed
    with runs.locked(settings.dir), runs.reported(settings.dir, can_resume=False):
        request = _resume.request_of(stored)
        own = {"figures": settings.figures, "quiet": settings.quiet, "out": settings.dir}
        request = request._replace(settings=dataclasses.replace(request.settings, **own), is_resumed=True)
        done = load(COMMANDS[stored["command"]].report)(request, settings.judge)
        if settings.html:
            say(f"written: {_files.shown(pages.write(done.page(), settings.dir))}", settings.quiet)
    if not settings.quiet:
        print("\n".join(done.lines))
