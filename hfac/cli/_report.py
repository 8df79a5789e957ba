"""``hfac report DIR``: table and figures of a stored sweep, judged again if asked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hfac.cli import InputError, as_input_error, parse
from hfac.cli._values import Numbers


@dataclasses.dataclass(frozen=True)
class Report:
    """Settings of a report."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a sweep."""
    judge: Annotated[Numbers, tyro.conf.arg(help_behavior_hint="(default: the sweep's own)")] = ()
    """Entropy weights tau to judge at, > 0."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(Report, args, "hfac report", "Print the table of a stored sweep and draw its figures again.")
    if not (settings.dir / "config.json").is_file():
        raise InputError(f"{settings.dir} holds no sweep: config.json is missing")
    if any(not tau > 0 for tau in settings.judge):
        raise InputError(f"--judge must be positive, got {min(settings.judge):g}")
    from hfac.cli import _sweep

    resolved = _sweep.resolve(["--config", str(settings.dir / "config.json")], "sweep")
    assert resolved is not None
    from hfac import results
    from hfac.cli import _folder, _sweep_run

    problem, resolved = _sweep_run.build_problem(resolved)
    taus = settings.judge or resolved.settings.judge
    with _folder.locked(settings.dir), _folder.reported(settings.dir, can_go_on=False):
        with as_input_error():
            data = results.load(settings.dir / _folder.RESULTS)
        _sweep_run.judge_and_report(data, problem, taus, settings.dir, settings.figures, settings.quiet)
