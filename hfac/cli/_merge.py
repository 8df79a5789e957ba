"""``hfac merge DIR DIR ... --out DIR``: shares of a sweep, run apart with --shard, in one folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hfac._progress import waiting
from hfac.cli import _resume, parse


@dataclasses.dataclass(frozen=True)
class Merge:
    """Settings of a merge."""

    dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of shares."""
    out: Path
    """Folder to write to; it must not hold anything."""
    figures: bool = True
    """Draw the figures."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    settings = parse(Merge, args, "hfac merge", "Put the shares of a sweep together; runs that are missing are run.")
    from hfac import runs

    if settings.dirs:  # what cannot be gone on with is refused before anything is copied
        _resume.request_of(runs.read_config(settings.dirs[0]))
    with waiting("copying", settings.quiet):
        runs.join(settings.dirs, settings.out)
    _resume.resume_folder(_resume.Resume(settings.out, figures=settings.figures, quiet=settings.quiet))
