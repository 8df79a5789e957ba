"""Running a job: records go to the store, states to checkpoints, and it goes on from there after a stop."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import xarray  # here, before anything is timed: it takes seconds
import zarr  # noqa: F401

from hfac import engine, results
from hfac._errors import InputError, Stopped, as_input_error
from hfac._places import short
from hfac._progress import clock, progress, say, waiting
from hfac._trees import named_leaves
from hfac.engine import Checkpoints, Piece, advance_part, first_shapes
from hfac.runs import _configuration, _folder
from hfac.runs._execution import Execution
from hfac.runs._interrupts import Interrupts, deferred_interrupts
from hfac.runs._job import Job
from hfac.types import Status


def load(job: Job, folder: Path, quiet: bool = True) -> xarray.Dataset:
    """The stored results of a run that is at its end, in the order of the job's grid and seeds.

    Raises:
      InputError: if they are damaged, or not all there.
    """
    data = ordered(job, folder, quiet)
    if int(data["step"][-1]) < job.steps:
        way_on = _folder.way_on(folder, job.configuration)
        raise InputError(f"{folder} ends at step {int(data['step'][-1]):,}; {way_on} goes on with it")
    return data


def ordered(job: Job, folder: Path, quiet: bool = True) -> xarray.Dataset:
    """The stored results as far as they have come, in the order of the job's grid and seeds; parts may be in another.

    Raises:
      InputError: if they are damaged, or runs are missing.
    """
    way_on = _folder.way_on(folder, job.configuration)
    with waiting("reading the records", quiet), as_input_error():
        data = results.load(folder / _folder.RESULTS)
    wanted = {dim: labels[dim] for dim, labels in job.coordinates.values.items()} | {"seed": job.seeds}
    moved = {dim: labels for dim, labels in wanted.items() if not np.array_equal(data[dim].values, labels)}
    try:
        return data.sel(moved)
    except KeyError as error:
        raise InputError(f"{folder} lacks runs: {error}; {way_on} runs them") from None


def announce(job: Job, quiet: bool) -> None:
    """Say what is about to run, and what the theory would question."""
    say(f"{job.name}: {job.num_runs} runs x {job.steps:,} steps, {job.preset} settings", quiet)
    for remark in job.remarks():
        say(f"note: {remark}", quiet)


def record(job: Job, folder: Path, execution: Execution, report: str | None) -> bool:
    """Run to the last record point, or go on to it: records to the store, states to checkpoints.

    Args:
      job: to run.
      folder: to write to, held by `hfac.runs.open_folder`.
      execution: how it is run.
      report: file that is written when all is done, if there is one.

    Returns:
      Whether there is something to report: False for a run that was finished before, report and all.

    Raises:
      InputError: if the folder holds runs that are not asked for, or checkpoints of something else.
      Stopped: if somebody asked to stop, or a run diverged and that is to stop the sweep.
    """
    processes, quiet = execution.processes, execution.quiet
    has_grown = processes.is_first and _has_grown(job, folder)
    store = _planned_store(job, folder, execution)
    if processes.is_first and report is not None and (has_grown or _unfinished(store, folder)):
        (folder / report).unlink(missing_ok=True)  # it tells of less than is to come
    ran, compiled = store.attributes.get("run_seconds", 0.0), store.attributes.get("compile_seconds", 0.0)
    has_moved = False
    with deferred_interrupts() as asked:
        for part in store.parts[processes.index :: processes.count]:
            place = folder / _folder.CHECKPOINTS / part.name
            place.mkdir(parents=True, exist_ok=True)
            with _folder.locked(place):  # one that lost its first process may still be at work on a part
                seconds = _run_part(job, folder, part, execution, asked)
            if seconds is not None:
                has_moved, ran, compiled = True, ran + seconds[0], compiled + seconds[1]
                if processes.is_first:
                    store.annotate({"run_seconds": ran, "compile_seconds": compiled})
        if not processes.is_first:
            return False
        with waiting("waiting for the other processes", quiet):
            processes.await_all(folder, lambda: _unfinished(store, folder), lambda: asked.is_set)
    if execution.share != (1, 1):
        mine, shares = execution.share
        say(f"share {mine}/{shares} is finished; `hfac merge` puts the shares together", quiet)
        return False
    if not has_moved and report is not None and (folder / report).exists():
        say(f"{folder} is finished: {job.num_runs} runs x {job.steps:,} steps", quiet)
        return False
    return True


def _has_grown(job: Job, folder: Path) -> bool:
    return bool(_folder.differences(_folder.read_config(folder), job.configuration))


def _planned_store(job: Job, folder: Path, execution: Execution) -> results.Store:
    """The store, once the first process has made everybody's parts."""
    processes = execution.processes
    if not processes.is_first:
        processes.await_first(folder)
        differ = _folder.differences(_folder.read_config(folder), job.configuration)
        if differ:
            raise InputError(f"this process was started with other settings than the first: {', '.join(differ)}")
        return results.Store(folder / _folder.RESULTS)
    try:
        store = open_store(job, folder, execution)
    except InputError:
        processes.tell(folder, "stop")
        raise
    processes.tell(folder, "go")
    return store


def _unfinished(store: results.Store, folder: Path) -> list[str]:
    """Parts that have not reached their last record point, in words."""
    found = []
    for part in store.parts:
        step, last = Checkpoints(folder / _folder.CHECKPOINTS / part.name, {}).newest_step, int(part.points[-1])
        if step < last:
            found.append(f"{part.name} ({part.table.num_runs} runs) at step {step:,} of {last:,}")
    return found


def open_store(job: Job, folder: Path, execution: Execution) -> results.Store:
    """The store of a folder, with parts for the runs that it lacks and room for all record points."""
    path, (mine, shares) = folder / _folder.RESULTS, execution.share
    notes = {name: short(job.configuration[name]) for name in ("problem", "algorithm")} | {"settings": job.words}
    notes |= {} if job.source is None else {"environment": job.source}
    with as_input_error():
        store = results.Store(path) if path.exists() else results.Store.create(path, results.provenance() | notes)
        points = job.points
        for part in store.parts:
            points = np.union1d(points, part.points).astype(points.dtype)
        rows = job.table.rows()
        held = {row for part in store.parts for row in part.table.rows()}
        if not held <= set(rows):
            raise InputError(f"{folder} holds runs that are not among those asked for; seeds and lists can only grow")
        own = np.array_split(np.arange(job.num_runs), shares)[mine - 1]
        if held and shares > 1 and len(held) != own.size:
            raise InputError(f"{folder} holds a share; `hfac merge` the shares first, then extend the whole")
        missing = np.array([i for i in own if rows[i] not in held], int)
        if not missing.size and not store.parts:
            raise InputError(f"--shard {mine}/{shares} is empty: there are {job.num_runs} runs")
        for part in store.parts:
            part.check(points)
        check_files(job, folder)
        update_configuration(job, folder)  # nothing speaks against it; what is added next must find it there
        for subset in _parts_of(job, missing, execution.processes.count):
            layout = lay_out(job, subset, execution.block_width or None)
            store.add(job.table.take(subset), layout.record_shapes, points, layout.program.plan.width)
        for part in store.parts:
            part.grow(points)
    return store


def check_files(job: Job, folder: Path) -> None:
    """Raise `InputError` if a file that a stored run was made from holds something else now."""
    own = job.identity
    for place in sorted((folder / _folder.CHECKPOINTS).glob("*")):
        stored = Checkpoints(place, {}).belongs_to or {}
        for name in _folder.BY_CONTENT:
            before, now = (each.get(f"{name}_digest") for each in (stored, own))
            if before is not None and now is not None and before != now:
                raise InputError(
                    f"--{name.replace('_', '-')}: {folder} was made from a file that holds something else now; put it "
                    "back as it was, or run into another folder"
                )


def _parts_of(job: Job, runs: np.ndarray, count: int) -> list[np.ndarray]:
    """Runs in groups that share a problem, `count` of each."""
    each = [runs[runs // job.runs_per_variant == i] for i in range(len(job.variants))]
    return [subset for own in each for subset in np.array_split(own, count) if subset.size]


def lay_out(job: Job, runs: np.ndarray, width: int | None = None) -> engine.Layout:
    """Runs of one problem laid out on this machine, by their places in the job's table."""
    variant, own = job.variants[runs[0] // job.runs_per_variant], runs % job.runs_per_variant
    return engine.lay_out(variant.algorithm, job.grid, job.seeds, variant.record, subset=own, width=width)


def update_configuration(job: Job, folder: Path) -> None:
    """Write the configuration of a run that was made larger, once nothing speaks against it."""
    if _has_grown(job, folder):
        _folder.write_config(folder, job.configuration)


def _schedules_of(layout: engine.Layout) -> str:
    """Digest of the schedules and seeds of a layout's runs: what a run's numbers follow from, apart from the method."""
    digest = hashlib.sha256(np.ascontiguousarray(layout.table.labels["seed"]).tobytes())
    for leaf in jax.tree.leaves(layout.runs.schedules):
        digest.update(np.asarray(leaf)[: layout.num_runs].astype(float).tobytes())
    return digest.hexdigest()[:12]


def _identity_of(job: Job, layout: engine.Layout, part: results.Part) -> dict[str, object]:
    """What the checkpoints of a part belong to."""
    own = {name: float(part.table.labels[name][0]) for name in job.axes.dims}
    return job.identity | own | {"schedules": _schedules_of(layout)}


def _run_part(
    job: Job, folder: Path, part: results.Part, execution: Execution, asked: Interrupts
) -> tuple[float, float] | None:
    """Move a part's runs to the last record point; returns seconds of running and of compiling, None if at its end."""
    place = {row: i for i, row in enumerate(job.table.rows())}
    where = folder / _folder.CHECKPOINTS / part.name
    if Checkpoints(where, {}).newest_step >= part.points[-1] and part.reached == len(part.points):
        return None
    layout = lay_out(job, np.array([place[row] for row in part.table.rows()]), part.width)
    checkpoints = Checkpoints(
        where,
        _identity_of(job, layout, part),
        unimportant=_configuration.FORGOTTEN,
        upgrade=_folder.upgraded,
    )
    with as_input_error():
        start, refused = checkpoints.latest(first_shapes(layout))
        if start is not None and part.reached < start.point:
            refused.append(f"{part.name} lacks records before step {start.step:,}: its runs begin again")
            start = None
    for reason in refused:
        say(f"note: {reason}", execution.quiet)
    if start is not None or refused:
        say(f"going on from step {0 if start is None else start.step:,}", execution.quiet)
    program, num_runs = layout.program, layout.num_runs
    first_step, first = (0, 0) if start is None else (start.step, int(start.samples.sum()))
    before, stops, along = program.compile_seconds, list[str](), getattr(job.problem, "along", None)
    unit, said = (1.0, "samples"), ""

    def watch(piece: Piece, samples: np.ndarray) -> bool:
        nonlocal unit, said
        if along is not None and isinstance(piece.record, Mapping):
            unit, said = along(piece.record)
        used = unit[0] * (int(samples.sum()) - first) / max(piece.step - first_step, 1)
        bar.update(piece.step, along=(used, unit[1]) if used else None, said=said)
        execution.processes.sign_of_life(folder)
        if execution.on_divergence == "stop" and piece.record is not None:
            failed = int((named_leaves(piece.record)["status"] != Status.OK).sum())
            stops.extend([f"{failed} of {num_runs} runs diverged"] if failed else [])
        stops.extend(["asked to"] if asked.is_set else [])
        return bool(stops)

    which = f"running {num_runs} runs" if num_runs == job.num_runs else f"running {num_runs} of {job.num_runs} runs"
    with progress(which, job.steps, "steps", execution.quiet, first_step) as bar:
        is_done = advance_part(layout, part, checkpoints, start, watch, 60 * execution.checkpoint_minutes)
    if not is_done:
        reached = f"stopped at step {checkpoints.newest_step:,} of {job.steps:,}"
        if stops[0] == "asked to":
            raise Stopped(f"{reached}; {_folder.way_on(folder, job.configuration)} goes on from there")
        raise Stopped(f"{reached}: {stops[0]}; `hfac extend {folder} --on-divergence keep` goes on with the others")
    seconds, compiling = bar.seconds, program.compile_seconds - before
    rate = num_runs * (job.steps - first_step) / max(seconds - compiling, 1e-9)
    pace = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    say(f"ran in {clock(seconds)} ({compiling:.1f} s of it compiling): {pace} run-steps/s", execution.quiet)
    return seconds - compiling, compiling
