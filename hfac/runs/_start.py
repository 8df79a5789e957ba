"""Sweeps that are stored: started, gone on with, made larger, repeated one run at a time."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray

from hfac import _files, options, pages
from hfac._compiler.jaxpr import is_tracing
from hfac._errors import InputError, as_input_error
from hfac._places import short
from hfac._progress import say, waiting
from hfac.runs import _configuration, _folder, _memory, _report, _work
from hfac.runs._build import as_paths, build, number_options
from hfac.runs._execution import Execution
from hfac.runs._job import Job
from hfac.runs._report import Report
from hfac.types import Algorithm

PLAIN = Execution()


def start(job: Job, folder: str | Path | None = None, execution: Execution = PLAIN) -> xarray.Dataset | None:
    """Run a job into a new folder: records as they come, checkpoints, then the judged results and a summary.

    Args:
      job: from `job`.
      folder: to write to, new or empty; the next free runs/PROBLEM-NNN unless given.
      execution: how it is run.

    Returns:
      The judged results, as `hfac.results.load(folder)` gives them too; None where only a share was run.

    Raises:
      ValueError: if the folder holds something, or the runs do not fit into memory.
      KeyboardInterrupt: if it was interrupted; `resume` goes on from there.
    """
    if not isinstance(job, Job):
        raise InputError(f"job must be what hfac.runs.job makes, got {job!r}")
    _check_call(execution)
    with as_input_error():
        place = None if folder is None else _files.place(folder)
    return _data(run(job, place, execution), job, place, execution)


def resume(
    folder: str | Path,
    execution: Execution = PLAIN,
    problem: Any = None,
    algorithm: Callable[..., Algorithm] | None = None,
) -> xarray.Dataset | None:
    """Go on with a run that was stopped; its numbers are those of a run that was not.

    Args:
      folder: of the run.
      execution: how it is run.
      problem: that it is about, where that is your own.
      algorithm: builder of the method, where that is your own.

    Raises:
      ValueError: if the folder holds no sweep, or something in it is damaged.
    """
    return extend(folder, execution, problem, algorithm)


def extend(
    folder: str | Path,
    execution: Execution = PLAIN,
    problem: Any = None,
    algorithm: Callable[..., Algorithm] | None = None,
    **larger: Any,
) -> xarray.Dataset | None:
    """Make a run larger; every value that is there stays as it is.

    Args:
      folder: of the run.
      execution: how it is run.
      problem: that it is about, where that is your own.
      algorithm: builder of the method, where that is your own.
      **larger: steps, seeds, first_seed, judge, settings, problem_options or algorithm_options, as for `job`; a list
        must hold what it held.

    Raises:
      ValueError: if something would be smaller or another than it was.
    """
    _check_call(execution)
    with as_input_error():
        place = _files.place(folder)
    job = _of_folder(place, larger, problem, algorithm)
    execution = _as_before(job, execution)
    return _data(run(job, place, execution, is_new=False), job, place, execution)


def page(
    folder: str | Path, problem: Any = None, algorithm: Callable[..., Algorithm] | None = None, figures: bool = True
) -> Path:
    """Write one page of a run, FOLDER/report.html, to look at in a browser; its table and figures again too.

    Args:
      folder: of the run, as far as it has come.
      problem: that it is about, where that is your own.
      algorithm: builder of the method, where that is your own.
      figures: draw the figures.

    Raises:
      ValueError: if the folder holds no sweep, something in it is damaged, or plotly is not installed.
    """
    pages.plotting_library()  # before anything is computed
    with as_input_error():
        place = _files.place(folder)
    job, execution = _of_folder(place, {}, problem, algorithm), Execution(quiet=True, figures=figures)
    with _folder.locked(place), as_input_error():
        done = _report.report(job, _work.ordered(job, place), place, job.judge, execution)
        return pages.write(done.page(), place)


def _check_call(execution: Any) -> None:
    """Raise `InputError` unless runs can be started here, in this way."""
    if not isinstance(execution, Execution):
        raise InputError(f"execution must be an hfac.runs.Execution, got {execution!r}")
    if is_tracing():
        raise InputError("runs are stored on the host: call this outside of jit, grad and vmap; hfac.run may be inside")


def _of_folder(
    folder: Path, larger: Mapping[str, Any], problem: Any, algorithm: Callable[..., Algorithm] | None
) -> Job:
    stored = as_paths(_folder.read_config(folder))
    if stored["command"] != "sweep":
        raise InputError(f"{folder} holds a run of `hfac {stored['command']}`; `hfac resume {folder}` goes on with it")
    changed = dict(larger)
    settings = _configuration.from_settings(changed.pop("settings", {}))
    settings["zip"] = _configuration.regrouped(stored.get("zip") or (), settings["zip"])
    known = ("steps", "seeds", "first_seed", "judge", *_folder.TABLES)
    unknown = [name for name in changed if name not in known]
    if unknown:
        raise InputError(f"a run keeps its {', '.join(unknown)}; only {', '.join(known)} and settings can grow")
    for table in _folder.TABLES:
        if table in changed:
            changed[table] = (stored.get(table) or {}) | changed[table]
    if isinstance(changed.get("judge"), int | float):
        changed["judge"] = (changed["judge"],)
    wanted = stored | settings | changed
    numbers = number_options(stored)
    if algorithm is not None:
        kind = options.kind_of(problem) if problem is not None else "tabular"
        numbers |= {f"algorithm_options.{name}" for name in options.lists(algorithm, kind)}
    _configuration.check_growth(stored, wanted, numbers)
    return build(wanted, problem, algorithm, folder)


def share_words(execution: Execution) -> str:
    """The share as I/N."""
    return "/".join(map(str, execution.share))


def _said_by(execution: Execution) -> dict[str, Any]:
    """What of an execution is stored with the run, as it goes on with it."""
    found: dict[str, Any] = {}
    if execution.share != (1, 1):
        found["shard"] = share_words(execution)
    for name in ("block_width", "on_divergence"):
        if getattr(execution, name) != getattr(PLAIN, name):
            found[name] = getattr(execution, name)
    return found


def _as_before(job: Job, execution: Execution) -> Execution:
    """An execution with what the run was started with, where nothing else is said."""
    stored, changed = job.configuration, dict[str, Any]()
    if stored.get("shard") and execution.share == (1, 1):
        mine, shares = map(int, str(stored["shard"]).split("/"))
        changed["share"] = (mine, shares)
    for name in ("block_width", "on_divergence"):
        if stored.get(name) and getattr(execution, name) == getattr(PLAIN, name):
            changed[name] = stored[name]
    return dataclasses.replace(execution, **changed)


def _recorded(job: Job, folder: Path, execution: Execution) -> bool:
    """Whether all runs of the job are in the folder now, after going on with them, and nobody reported them before.

    Raises:
      InputError: if somebody whom a step asks does not answer.
    """
    with _going_on(job, folder):
        return _work.record(job, folder, execution, _report.SUMMARY)


@contextlib.contextmanager
def _going_on(job: Job, folder: Path) -> Iterator[None]:
    """Where somebody on the host answers the steps, what is wrong with them comes with the way on."""
    try:
        yield
    except InputError as error:
        if all(variant.algorithm.host is None for variant in job.variants):
            raise
        way_on = _folder.way_on(folder, job.configuration)
        raise InputError(f"{error}; nothing is lost, {way_on} goes on from there") from None


def _lacks_figures(folder: Path, execution: Execution) -> bool:
    """Whether a finished run was reported without the figures that are asked for."""
    is_whole = execution.processes.is_first and execution.share == (1, 1)
    return is_whole and execution.figures and not (folder / _report.FIGURES).exists()


def _data(report: Report | None, job: Job, folder: Path | None, execution: Execution) -> xarray.Dataset | None:
    if report is not None:
        return report.data
    if folder is None or execution.share != (1, 1) or not execution.processes.is_first:
        return None
    return _work.load(job, folder, execution.quiet)


def run(job: Job, folder: Path | None, execution: Execution, is_new: bool = True) -> Report | None:
    """Run a job, or go on with it, and report it; everything is checked before anything is written.

    Args:
      job: to run.
      folder: to write to, or None for a new one.
      execution: how.
      is_new: whether the folder must hold nothing yet.

    Returns:
      The report; None where another process gives it, where it was given before, or where only a share was run.

    Raises:
      InputError: if it cannot be run or written.
      Stopped: if somebody asked to stop.
    """
    if is_new:
        job = dataclasses.replace(job, configuration={**job.configuration, **_said_by(execution)})
        if job.num_runs < execution.share[0]:
            raise InputError(f"--shard {share_words(execution)} is empty: there are {job.num_runs} runs")
    if is_new and execution.processes.is_first:
        _folder.check_new(folder, job.configuration)
    with waiting("preparing", execution.quiet):
        _memory.check_memory(job, execution, None if is_new else folder)
    stem = short(job.configuration["problem"])
    with _folder.open_folder(job.configuration, folder, stem, is_new=is_new, processes=execution.processes) as place:
        if execution.processes.is_first and hasattr(job.problem, "save"):
            with as_input_error():
                job.problem.save(place)
        _work.announce(job, execution.quiet)
        if not _recorded(job, place, execution) and not _lacks_figures(place, execution):
            return None
        with _going_on(job, place):
            done = _report.report(job, _work.load(job, place, execution.quiet), place, job.judge, execution)
        files = ", ".join((_folder.CONFIG, _folder.RESULTS, *done.files))
        say(f"written to {place}/: {files}", execution.quiet)
        return done
