"""``hfac report DIR``: table and figures of a stored run, judged again if asked."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hfac.cli import InputError, as_input_error, parse
from hfac.cli._values import Numbers

if TYPE_CHECKING:
    import xarray

    from hfac.cli._request import Request


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
    from hfac.cli import _folder, _resume

    stored = _folder.read_config(settings.dir)
    if stored["command"] not in REPORTED:
        raise InputError(f"{settings.dir} holds a run of `hfac {stored['command']}`; reported are sweeps and tweets")
    with _folder.locked(settings.dir), _folder.reported(settings.dir, can_go_on=False):
        REPORTED[stored["command"]](settings, _resume.request_of(stored))


def _sweep(settings: Report, request: "Request") -> None:
    from hfac.cli import _sweep_report, _sweep_run

    problem, request = _sweep_run.build_problem(request)
    taus = settings.judge or request.settings.judge
    _sweep_report.judge_and_report(_load(settings.dir), problem, taus, settings.dir, settings.figures, settings.quiet)


def _tweets(settings: Report, request: "Request") -> None:
    from hfac.cli import _sweep_run, _tweets_run

    taken = dataclasses.replace(_sweep_run.begin(request, x64=False).settings, pretrained=settings.dir)
    with as_input_error():
        setup = _tweets_run.tweets.prepare(taken)
    taus = settings.judge or taken.judge
    _tweets_run.report(setup, _load(settings.dir), taus, settings.dir, settings.figures, settings.quiet)


def _load(folder: Path) -> "xarray.Dataset":
    from hfac import results
    from hfac.cli import _folder

    with as_input_error():
        return results.load(folder / _folder.RESULTS)


REPORTED: dict[str, Callable[[Report, "Request"], None]] = {"sweep": _sweep, "tweets": _tweets}
