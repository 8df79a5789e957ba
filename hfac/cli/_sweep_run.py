"""Running a resolved sweep: devices, the loop over record points, judging, files."""

import dataclasses
import functools
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray  # here, before anything is timed: it takes seconds
import zarr  # noqa: F401

from hfac import _random, engine, metrics, recommended, results
from hfac import schedules as schedules_module
from hfac._trees import named_leaves
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import InputError, Stopped, _config, _folder, _memory, _processes, _sweep, _sweep_report, as_input_error
from hfac.cli._interrupts import Interrupts, held_back
from hfac.cli._progress import Progress, clock, say
from hfac.cli._request import Request
from hfac.cli._settings import JUDGE
from hfac.engine import Checkpoints, Piece, durable, first_shapes, num_cores, record_points
from hfac.problems import REGISTRY as PROBLEMS
from hfac.tabular.problem import Problem
from hfac.types import Algorithm, Status

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


class Job(NamedTuple):
    """A sweep that is ready to run."""

    request: Request  # with every default filled in
    problem: Any  # tabular, or over whole sequences
    algorithm: Algorithm
    grid: tuple[schedules_module.Schedules, schedules_module.Coordinates]
    seeds: np.ndarray
    record: Callable[[Any, Any, Any], Any] | None  # of every record point; None keeps x
    preset: str
    words: str  # the base schedules' scales

    @property
    def num_runs(self) -> int:
        """Configurations x seeds."""
        return int(np.prod(self.grid[1].shape, dtype=int)) * len(self.seeds)


def prepare(request: Request, is_run: bool = True) -> Job:
    """Build what a request asks for; nothing is written.

    Args:
      request: as it was parsed.
      is_run: whether its runs are run here, and so must fit into memory.

    Raises:
      InputError: if a builder refuses an option, or the machine cannot hold the runs.
    """
    settings = request.settings
    problem, request = build_problem(request)
    builder = _config.lookup(ALGORITHMS, settings.algorithm, "algorithm")
    algorithm, numbers = _config.build_method(builder, problem, request.algorithm_options)
    base, preset = base_schedules(request.problem, settings)
    grid, words = crossed(base, _sweep.schedule_grid_axes(settings) | numbers)
    record = None
    if settings.record == "tables":
        record = metrics.state
        with as_input_error(f"{settings.algorithm}: "):
            metrics.check_tables(algorithm)
    if is_run:
        _memory.check(request, algorithm, grid, record)
    seeds = np.arange(settings.first_seed, settings.first_seed + settings.seeds)
    return Job(request, problem, algorithm, grid, seeds, record, preset, words)


def build_problem(request: Request) -> tuple[Problem, Request]:
    """The problem, and the request with the judge's entropy weight that is meant where none was given.

    Raises:
      InputError: if the builder refuses an option.
    """
    request = begin(request)
    settings = request.settings
    builder = _config.lookup(PROBLEMS, request.problem, "problem")
    problem = _config.build(builder, (), request.problem_options, "problem")
    if not settings.judge:
        tau = problem.fixed_tau or JUDGE
        judge = (tau,) if isinstance(settings.judge, tuple) else tau
        request = request._replace(settings=dataclasses.replace(settings, judge=judge))
    return problem, request


def execute(request: Request) -> None:
    """Run, judge, store and draw a sweep; everything is checked before anything is written."""
    job = prepare(request)
    request, settings = job.request, job.request.settings
    with _sweep.work(request, request.problem) as folder:
        introduce(job, request)
        if not run_recorded(job, request, folder, "summary.csv"):
            return
        data = load(job, folder)
        _sweep_report.judge_and_report(data, job.problem, settings.judge, folder, settings.figures, settings.quiet)
        drawn = ", figures/" if settings.figures else ""
        say(f"written to {folder}/: config.json, results.zarr, summary.csv{drawn}", settings.quiet)


def load(job: Job, folder: Path) -> xarray.Dataset:
    """The stored results in the order of the job's grid and seeds; parts may have come in another.

    Raises:
      InputError: if they are damaged, or not all there.
    """
    with as_input_error():
        data = results.load(folder / _folder.RESULTS)
    wanted = {dim: labels[dim] for dim, labels in job.grid[1].values.items()} | {"seed": job.seeds}
    moved = {dim: labels for dim, labels in wanted.items() if not np.array_equal(data[dim].values, labels)}
    try:
        data = data.sel(moved)
    except KeyError as error:
        raise InputError(f"{folder} lacks runs: {error}; `hfac resume {folder}` runs them") from None
    if int(data["step"][-1]) < job.request.settings.steps:
        raise InputError(f"{folder} ends at step {int(data['step'][-1]):,}; `hfac resume {folder}` goes on with it")
    return data


def introduce(job: Job, request: Request) -> None:
    """Say what is about to run, and what the theory would question."""
    settings = request.settings
    what = f"{request.problem} / {settings.algorithm}: {job.num_runs} runs x {settings.steps:,} steps"
    say(f"{what}, {job.preset} settings", settings.quiet)
    for remark in [*remarks(job), *unbounded(job.problem)]:
        say(f"note: {remark}", settings.quiet)


def remarks(job: Job) -> list[str]:
    """What the theory would question in the numbers that the person chose; those of a preset are the library's."""
    settings = job.request.settings
    chosen = {key for keys in _sweep.schedule_grid_axes(settings) for key in keys}
    found = job.grid[0].remarks(settings.steps)
    return [remark.words for remark in found if chosen & set(remark.about)]


def begin(request: Request, x64: bool = True) -> Request:
    """Set jax up and meet the other processes, if there are any; only the first one talks."""
    settings: Any = request.settings
    if getattr(settings, "deterministic", False):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}"
    configure_jax(settings.devices, settings.cache, x64)
    if not hasattr(settings, "distributed"):
        return request
    processes = _processes.join(settings)
    if not processes.is_first:
        settings = dataclasses.replace(settings, quiet=True, figures=False)
    return request._replace(settings=settings, processes=processes)


def configure_jax(devices: int, cache: bool, x64: bool = True) -> None:
    """One CPU device per core, float64 for exact judging, compiled programs kept between processes."""
    cores = num_cores()
    jax.config.update("jax_num_cpu_devices", min(devices, cores) if devices else cores)
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_default_prng_impl", _random.GENERATOR)
    jax.config.update("jax_threefry_partitionable", True)
    if not cache:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]  # one that is set stays
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "hfac"))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    try:
        jax.devices()
    except (RuntimeError, AssertionError, ValueError) as error:
        wanted, why = os.environ.get("JAX_PLATFORMS", ""), " ".join(str(error).split())[:160]
        raise InputError(
            f"jax finds no device of JAX_PLATFORMS={wanted}{': ' if why else ''}{why}; unset it, or install jax for it"
        ) from None


def base_schedules(problem: str, settings: _sweep.Sweep) -> tuple[schedules_module.Schedules, str]:
    """The schedules that flags override, and the name of the preset they come from.

    Raises:
      InputError: if recommended settings are asked for and there are none.
    """
    preset = settings.preset or ("recommended" if recommended.is_known(problem, settings.algorithm) else "attenuating")
    with as_input_error("--preset: "):
        if preset == "recommended":
            return recommended.schedules(problem, settings.algorithm), preset
    return getattr(schedules_module, preset)(), preset


def crossed(
    base: schedules_module.Schedules, axes: Mapping[tuple[str, ...], list[tuple[float, ...]]]
) -> tuple[tuple[schedules_module.Schedules, schedules_module.Coordinates], str]:
    """The grid of all lists longer than one; single values go into the base. Also says what the base is."""
    single = {
        key: value for keys, rows in axes.items() if len(rows) == 1 for key, value in zip(keys, rows[0], strict=True)
    }
    listed: dict[str | tuple[str, ...], list[tuple[float, ...]]] = {
        k: rows for k, rows in axes.items() if len(rows) > 1
    }
    with as_input_error():
        base = schedules_module.replace(base, single)
        words = ", ".join(f"{rate} {float(getattr(base, rate).scale):.3g}" for rate in schedules_module.RATES)
        return schedules_module.grid(base, listed), words


def unbounded(problem: Problem) -> list[str]:
    """What the person should know about critics that nothing bounds."""
    missing = [name for name in ("reward_bound", "cost_bound") if getattr(problem, name) is None]
    return [f"{problem.name} states no {name}: that critic is not projected" for name in missing]


def run_recorded(job: Job, request: Request, folder: Path, report: str) -> bool:
    """Run to the last record point, or go on to it: records to the store, states to checkpoints.

    Args:
      job: to run.
      request: that it was made from.
      folder: to write to.
      report: file that is written when all is done.

    Returns:
      Whether there is something to report: False for a run that was finished before, report and all.

    Raises:
      InputError: if the folder holds runs that are not asked for, or checkpoints of something else.
      Stopped: if somebody asked to stop, or a run diverged and that is to stop the sweep.
    """
    processes = request.processes
    has_grown = processes.is_first and bool(_folder.differences(_folder.read_config(folder), _sweep.content(request)))
    store = _planned_store(job, request, folder)
    if processes.is_first and (has_grown or _unfinished(store, folder)):
        (folder / report).unlink(missing_ok=True)  # it tells of less than is to come
    ran, compiled = store.attributes.get("run_seconds", 0.0), store.attributes.get("compile_seconds", 0.0)
    has_moved = False
    with held_back() as asked:
        for part in store.parts[processes.index :: processes.count]:
            place = folder / _folder.CHECKPOINTS / part.name
            place.mkdir(parents=True, exist_ok=True)
            with _folder.locked(place):  # one that lost its first process may still be at work on a part
                seconds = _run_part(job, request, folder, part, asked)
            if seconds is not None:
                has_moved, ran, compiled = True, ran + seconds[0], compiled + seconds[1]
                if processes.is_first:
                    store.annotate({"run_seconds": ran, "compile_seconds": compiled})
        if not processes.is_first:
            return False
        _processes.wait(folder, processes, functools.partial(_unfinished, store, folder), lambda: asked.is_set)
    if request.shard is not None:
        say(f"share {request.shard} is finished; `hfac merge` puts the shares together", request.settings.quiet)
        return False
    if not has_moved and (folder / report).exists():
        say(f"{folder} is finished: {job.num_runs} runs x {request.settings.steps:,} steps", request.settings.quiet)
        return False
    return True


def _planned_store(job: Job, request: Request, folder: Path) -> results.Store:
    """The store, once the first process has made everybody's parts."""
    processes = request.processes
    if not processes.is_first:
        _processes.wait_for_the_first(folder, processes)
        differ = _folder.differences(_folder.read_config(folder), _sweep.content(request))
        if differ:
            raise InputError(f"this process was started with other settings than the first: {', '.join(differ)}")
        return results.Store(folder / _folder.RESULTS)
    try:
        store = open_store(job, request, folder)
    except InputError:
        _processes.answer(folder, processes, "stop")
        raise
    _processes.answer(folder, processes, "go")
    return store


def _unfinished(store: results.Store, folder: Path) -> list[str]:
    """Parts that have not reached their last record point, in words."""
    found = []
    for part in store.parts:
        step, last = Checkpoints(folder / _folder.CHECKPOINTS / part.name, {}).newest_step, int(part.points[-1])
        if step < last:
            found.append(f"{part.name} ({part.table.num_runs} runs) at step {step:,} of {last:,}")
    return found


def open_store(job: Job, request: Request, folder: Path) -> results.Store:
    """The store of a folder, with a part for the runs that it lacks and room for all record points."""
    path = folder / _folder.RESULTS
    notes = {"problem": request.problem, "algorithm": request.settings.algorithm, "settings": job.words}
    with as_input_error():
        store = results.Store(path) if path.exists() else results.Store.create(path, results.provenance() | notes)
        points = record_points(request.settings.steps)
        for part in store.parts:
            points = np.union1d(points, part.points).astype(points.dtype)
        table = results.run_table(job.grid[1], job.seeds)
        held = {row for part in store.parts for row in part.table.rows()}
        if not held <= set(table.rows()):
            raise InputError(f"{folder} holds runs that are not among those asked for; seeds and lists can only grow")
        if held and request.shard is not None and len(held) != _own(request, table.num_runs).size:
            raise InputError(f"{folder} holds a share; `hfac merge` the shares first, then extend the whole")
        rows = table.rows()
        missing = np.array([i for i in _own(request, table.num_runs) if rows[i] not in held], int)
        if not missing.size and not store.parts:
            raise InputError(f"--shard {request.shard} is empty: there are {table.num_runs} runs")
        for part in store.parts:
            part.check(points)
        _sweep.keep_growth(request, folder)  # nothing speaks against it; what is added next must find it there
        for subset in np.array_split(missing, request.processes.count):
            if subset.size:
                width = request.settings.block_width or None
                layout = engine.lay_out(job.algorithm, job.grid, job.seeds, job.record, subset=subset, width=width)
                store.add(layout.table, layout.record_shapes, points, layout.program.plan.width)
        for part in store.parts:
            part.grow(points)
    return store


def _own(request: Request, num_runs: int) -> np.ndarray:
    """Places of the runs that this share has, of all."""
    mine, shares = (1, 1) if request.shard is None else _sweep.share(request.shard)
    return np.array_split(np.arange(num_runs), shares)[mine - 1]


def _schedules_of(layout: engine.Layout) -> str:
    """Digest of the schedules and seeds of a layout's runs: what a run's numbers follow from, apart from the method."""
    digest = hashlib.sha256(np.ascontiguousarray(layout.table.labels["seed"]).tobytes())
    for leaf in jax.tree.leaves(layout.runs.schedules):
        digest.update(np.asarray(leaf)[: layout.num_runs].astype(float).tobytes())
    return digest.hexdigest()[:12]


def _run_part(
    job: Job, request: Request, folder: Path, part: results.Part, asked: Interrupts
) -> tuple[float, float] | None:
    """Move a part's runs to the last record point; returns seconds of running and of compiling, None if at its end."""
    settings = request.settings
    place = {row: i for i, row in enumerate(results.run_table(job.grid[1], job.seeds).rows())}
    where = folder / _folder.CHECKPOINTS / part.name
    if Checkpoints(where, {}).newest_step >= part.points[-1] and part.reached == len(part.points):
        return None
    subset = np.array([place[row] for row in part.table.rows()])
    layout = engine.lay_out(job.algorithm, job.grid, job.seeds, job.record, subset=subset, width=part.width)
    checkpoints = Checkpoints(
        where, _sweep.identity(request) | {"schedules": _schedules_of(layout)}, unimportant=_sweep.FORGOTTEN
    )
    with as_input_error():
        start, refused = checkpoints.latest(first_shapes(layout))
        if start is not None and part.reached < start.point:
            refused.append(f"{part.name} lacks records before step {start.step:,}: its runs begin again")
            start = None
    for reason in refused:
        say(f"note: {reason}", settings.quiet)
    if start is not None or refused:
        say(f"going on from step {0 if start is None else start.step:,}", settings.quiet)
    program, num_runs = layout.program, layout.num_runs
    progress = Progress(settings.steps, "steps", settings.quiet)
    began, first = time.perf_counter(), 0 if start is None else int(start.samples.sum())
    stops: list[str] = []

    def watch(piece: Piece, samples: np.ndarray) -> bool:
        rate = (int(samples.sum()) - first) / max(time.perf_counter() - began - program.compile_seconds, 1e-9)
        progress.update(piece.step, f"{num_runs} runs, {rate:,.0f} samples/s")
        _processes.sign(folder, request.processes)
        if settings.on_divergence == "stop" and piece.record is not None:
            failed = int((named_leaves(piece.record)["status"] != Status.OK).sum())
            stops.extend([f"{failed} of {num_runs} runs diverged"] if failed else [])
        stops.extend(["asked to"] if asked.is_set else [])
        return bool(stops)

    is_done = durable(layout, part, checkpoints, start, watch, 60 * settings.checkpoint_minutes)
    seconds = progress.close()
    step = int(settings.steps) if is_done else checkpoints.newest_step
    if not is_done:
        reached = f"stopped at step {step:,} of {settings.steps:,}"
        if stops[0] == "asked to":
            raise Stopped(f"{reached}; `hfac resume {folder}` goes on from there")
        raise Stopped(f"{reached}: {stops[0]}; `hfac extend {folder} --on-divergence keep` goes on with the others")
    steps = settings.steps - (0 if start is None else start.step)
    rate = num_runs * steps / max(seconds - program.compile_seconds, 1e-9)
    say(
        f"ran in {clock(seconds)} ({program.compile_seconds:.1f} s of it compiling): {rate:,.0f} run-steps/s",
        settings.quiet,
    )
    return seconds - program.compile_seconds, program.compile_seconds
