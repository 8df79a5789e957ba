"""``hfac render DIR``: an animation of the policies of a stored run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hfac import _files
from hfac._progress import say
from hfac.cli import _resume, parse
from hfac.cli._replay import named_runs
from hfac.cli._values import Count

DESCRIPTION = (
    "Draw an animation of a run's policies at its first, a middle and its last record point, from the same random "
    "numbers. Environments take a sweep with --record policies; a grid of a table is shown with its best response. "
    "Where the sweep crossed lists, flags such as --tau 0.01 choose among them."
)


@dataclasses.dataclass(frozen=True)
class Render:
    """Settings of an animation."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a sweep."""
    seed: Count | None = None
    """Which run; of the configuration that ends best the one whose end is the median, unless given."""
    episode: Count = 0
    """Whose first state and random numbers, of the 32 episodes by which record points are judged, from 0."""
    length: Count | None = None
    """Steps of an episode that are shown, at most; all of them unless given."""
    fps: Count = 30
    """Frames a second, from 1 to 50."""
    out: Path | None = None
    """GIF to write to, which must not be there yet; DIR/figures/policies.gif unless given."""
    quiet: bool = False
    """Print errors only."""


def main(args: Sequence[str]) -> None:
    """Run the command."""
    which, rest = named_runs(args)
    settings = parse(Render, rest, "hfac render", DESCRIPTION)
    from hfac import runs
    from hfac.cli import _sweep_run

    view = runs.View(settings.seed, which, settings.episode, settings.length, settings.fps)
    path = runs.check_animation(settings.dir, settings.out, view)
    request = _resume.request_of(runs.read_config(settings.dir))
    own = {"out": settings.dir, "quiet": settings.quiet}
    request = request._replace(settings=dataclasses.replace(request.settings, **own), is_resumed=True)
    job, _ = _sweep_run.prepare(request)
    runs.animate(job, settings.dir, path, view, settings.quiet)
    say(f"written: {_files.shown(path)}", settings.quiet)
