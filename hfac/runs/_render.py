"""An animation of a run's policies at its first, a middle and its last record point."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray

from hfac import _checks, _files, exact, plots, results
from hfac._errors import InputError, as_input_error
from hfac._progress import progress, waiting
from hfac.control import ControlProblem, playing
from hfac.control.playing import Episode
from hfac.judging import OBJECTIVE
from hfac.runs import _folder
from hfac.runs._build import as_paths, build
from hfac.runs._find import named
from hfac.runs._job import Job, Variant
from hfac.runs._policies import trees
from hfac.runs._report import FIGURES
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, PyTree

FILE = "policies.gif"
FASTEST = 50  # frames a second that a GIF can have


class View(NamedTuple):
    """What is shown of a run."""

    seed: int | None = None  # the one whose end is the median, unless given
    which: Mapping[str, float] | None = None  # values of lists that the sweep crossed; what ends best of those left
    episode: int = 0  # whose random numbers, of the episodes by which record points are judged
    length: int | None = None  # steps of the longest episode that is shown
    fps: int = 30


TYPICAL = View()


def render(
    folder: str | Path,
    out: str | Path | None = None,
    view: View = TYPICAL,
    problem: Any = None,
    algorithm: Callable[..., Algorithm] | None = None,
) -> Path:
    """Draw an animation of the policies of a stored run, all from the same random numbers.

    Environments are drawn by their own `draw`, from a sweep with ``record="policies"``; tables that are grids with the
    best response to x, which needs no recorded policy.

    Args:
      folder: of a sweep.
      out: the GIF, which must not be there yet; figures/policies.gif in the folder unless given.
      view: which run, and how it is shown.
      problem: that the sweep is about, where that is your own.
      algorithm: builder of the method, where that is your own.

    Returns:
      The file.

    Raises:
      ValueError: if there is nothing to draw, no such run, or the file is there.
    """
    with as_input_error():
        place = _files.place(folder)
        target = None if out is None else _files.place(out)
    path = check_animation(place, target, view)
    job = build(as_paths(_folder.read_config(place)), problem, algorithm, place)
    return animate(job, place, path, view)


def check_animation(folder: Path, out: Path | None, view: View) -> Path:
    """The file that an animation of the run in a folder is written to, if it can be.

    Raises:
      InputError: if there is no sweep, something is in the file's place, or a number is out of range.
    """
    command = _folder.read_config(folder)["command"]
    if command != "sweep":
        raise InputError(f"{folder} holds a run of `hfac {command}`; render takes a sweep's")
    if not (isinstance(view.fps, int) and 1 <= view.fps <= FASTEST):
        raise InputError(f"--fps must be a whole number from 1 to {FASTEST}, got {view.fps}")
    with as_input_error("--"):
        playing.check_episode(view.episode)
        if view.length is not None:
            _checks.count("length", view.length)
    path = folder / FIGURES / FILE if out is None else out
    if path.suffix.lower() != ".gif":
        raise InputError(f"--out {path}: an animation is a GIF; call it {path.stem or 'policies'}.gif")
    if path.exists():
        raise InputError(f"{path} is there already; nothing is overwritten, write another with --out FILE.gif")
    return path


def animate(job: Job, folder: Path, path: Path, view: View, quiet: bool = True) -> Path:
    """Draw an animation of a job that is stored in a folder; see `render`."""
    _check_drawable(job.problem)
    with waiting("reading the records", quiet), as_input_error():
        data = results.load(folder / _folder.RESULTS)
    if OBJECTIVE not in data:
        raise InputError(f"{folder} is not judged yet; `hfac report {folder}` does that")
    words, run = plots.typical(_chosen(data, view))
    variant = _variant_of(job, run)
    moments = plots.milestones(run[OBJECTIVE].sel(judged_tau=float(run["judged_tau"].min())).values)
    points = run.isel(step=list(moments))
    with waiting("playing episodes", quiet):
        scenes = _scenes(variant, job, points, view)
    with progress("drawing", None, "frames", quiet) as bar:
        content = plots.film(scenes, words, view.fps, bar.update)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _files.replace(path, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def _chosen(data: xarray.Dataset, view: View) -> xarray.Dataset:
    """The runs among which the one to show is."""
    kept = {str(dim): np.ones(data.sizes[dim], bool) for dim in data["status"].dims if dim != "step"}
    where = {str(name): str(label.dims[0]) for name, label in data.coords.items() if len(label.dims) == 1}
    lists = {name: data[name].values for name, dim in where.items() if dim in kept and dim != "seed"}
    for path, near in named(lists, {} if view.which is None else view.which):
        kept[where[path]] &= near
    if view.seed is not None:
        kept["seed"] &= data["seed"].values == view.seed
        if not kept["seed"].any():
            first, last = data["seed"].values[[0, -1]]
            raise InputError(f"--seed {view.seed}: the sweep has {first} to {last}")
    if not all(each.any() for each in kept.values()):
        raise InputError(f"no run has {', '.join(f'--{word} {value:g}' for word, value in (view.which or {}).items())}")
    return data.isel({dim: np.flatnonzero(each) for dim, each in kept.items()})


def _variant_of(job: Job, run: xarray.Dataset) -> Variant:
    """The problem and method of one run."""
    for variant, where in zip(job.variants, np.ndindex(*job.axes.shape), strict=True):
        labels = {dim: job.axes.values[dim][dim][i] for dim, i in zip(job.axes.dims, where, strict=True)}
        if all(float(run[dim]) == value for dim, value in labels.items()):
            return variant
    raise InputError("the configuration and the results of the run do not agree")


def _check_drawable(problem: Any) -> None:
    """Raise `InputError` unless there is a way to draw it."""
    if isinstance(problem, Problem | ControlProblem) and plots.of_grid(problem) is not None:
        return
    if not isinstance(problem, ControlProblem):
        raise InputError(f"{problem.name} cannot be drawn: grids are, and environments that say how")
    if problem.environment.draw is None:
        remedy = "give its environment a function draw(axes, state), see hfac.control.Environment"
        raise InputError(f"{problem.name} cannot be drawn: {remedy}")


def _scenes(variant: Variant, job: Job, points: xarray.Dataset, view: View) -> list[plots.Scene]:
    """What is shown of the policies at several record points.

    Raises:
      InputError: if the policies were not recorded.
    """
    problem, on_grid = variant.problem, plots.of_grid(variant.problem)
    found = trees(variant.algorithm, job.grid.one(0), points)
    if isinstance(problem, Problem):
        episodes = _best_responses(problem, found["x"], points, view)
    elif "theta" in found:
        episodes = playing.of_policies(problem, view.episode, found["x"], found["theta"], view.length)
    else:
        raise InputError(f"{problem.name}: no policies were kept; run the sweep with --record policies")
    titles = [f"after {step:,} steps" for step in points["step"].values]
    earned = [episode.earned[: int(episode.length) + 1] for episode in episodes]
    draws = _of_environment(problem, episodes) if on_grid is None else _on_grid(on_grid[1], found["x"], episodes)
    return [plots.Scene(*each) for each in zip(titles, draws, earned, strict=True)]


def _best_responses(problem: Problem, xs: PyTree, points: xarray.Dataset, view: View) -> list[Episode]:
    tau = float(points["judged_tau"].min())
    respond = jax.jit(lambda x: exact.best_response(problem, x, tau))
    policies = np.stack([respond(_at(xs, i)) for i in range(points.sizes["step"])])
    return playing.of_tables(problem, view.episode, xs, policies, view.length)


def _of_environment(problem: ControlProblem, episodes: Sequence[Episode]) -> list[Any]:
    draw: Any = problem.environment.draw

    def of(episode: Episode) -> Callable[[Any, int], None]:
        return lambda axes, step: draw(axes, _at(episode.states, step))

    return [of(episode) for episode in episodes]


def _on_grid(layout: Any, xs: PyTree, episodes: Sequence[Episode]) -> list[Any]:
    fields = [layout.on_cells(layout.field(_at(xs, i))) for i in range(len(episodes))]
    limits = plots.field_limits(fields)
    return [plots.walk(layout, field, limits, each.states) for field, each in zip(fields, episodes, strict=True)]


def _at(tree: PyTree, i: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[i], tree)
