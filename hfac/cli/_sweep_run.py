"""Running a resolved sweep: devices, the loop over record points, judging, files."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray  # here, before anything is timed: it takes seconds
import zarr  # noqa: F401

from hfac import comparison, exact, metrics, plots, recommended, results, statistics
from hfac import schedules as schedules_module
from hfac.algorithms import REGISTRY as ALGORITHMS
from hfac.cli import Stopped, _config, _sweep, as_input_error
from hfac.cli._interrupts import Interrupts, held_back
from hfac.cli._progress import Progress, clock, say
from hfac.engine import _sweep as engine
from hfac.engine import num_cores, record_points, stream
from hfac.problem import Problem
from hfac.problems import REGISTRY as PROBLEMS
from hfac.types import Algorithm, Status


class Job(NamedTuple):
    """A sweep that is ready to run."""

    request: _sweep.Request  # with every default filled in
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


def prepare(request: _sweep.Request) -> Job:
    """Build what a request asks for; nothing is written.

    Raises:
      InputError: if a builder refuses an option.
    """
    settings = request.settings
    problem, request = build_problem(request)
    builder = _config.lookup(ALGORITHMS, settings.algorithm, "algorithm")
    algorithm = _config.build(builder, (problem,), request.algorithm_options, "algorithm")
    base, preset = base_schedules(request.problem, settings)
    grid, words = crossed(base, _sweep.schedule_grid_axes(settings))
    seeds = np.arange(settings.first_seed, settings.first_seed + settings.seeds)
    keeps_tables = settings.record == "tables"
    if keeps_tables:
        with as_input_error(f"{settings.algorithm}: "):
            metrics.check_tables(algorithm)
    return Job(request, problem, algorithm, grid, seeds, metrics.state if keeps_tables else None, preset, words)


def build_problem(request: _sweep.Request) -> tuple[Problem, _sweep.Request]:
    """The problem, and the request with the judge's entropy weight that is meant where none was given.

    Raises:
      InputError: if the builder refuses an option.
    """
    settings = request.settings
    configure_jax(settings.devices, settings.cache)
    builder = _config.lookup(PROBLEMS, request.problem, "problem")
    problem = _config.build(builder, (), request.problem_options, "problem")
    if not settings.judge:
        tau = problem.fixed_tau or _sweep.JUDGE
        judge = (tau,) if isinstance(settings.judge, tuple) else tau
        request = request._replace(settings=dataclasses.replace(settings, judge=judge))
    return problem, request


def execute(request: _sweep.Request) -> None:
    """Run, judge, store and draw a sweep; everything is checked before anything is written."""
    job = prepare(request)
    request, settings = job.request, job.request.settings
    folder = _sweep.make_folder(settings.out, request.problem)
    _sweep.write_config(folder, request)
    introduce(job, request)
    with held_back() as asked:
        run_recorded(job, request, folder, asked)
    data = results.load(folder / "results.zarr")
    judge_and_report(data, job.problem, settings.judge, folder, settings.figures, settings.quiet)
    drawn = ", figures/" if settings.figures else ""
    say(f"written to {folder}/: config.json, results.zarr, summary.csv{drawn}", settings.quiet)


def introduce(job: Job, request: _sweep.Request) -> None:
    """Say what is about to run, and what the theory would question."""
    settings = request.settings
    what = f"{request.problem} / {settings.algorithm}: {job.num_runs} runs x {settings.steps:,} steps"
    say(f"{what}, {job.preset} settings", settings.quiet)
    for remark in [*job.grid[0].review(settings.steps), *unbounded(job.problem)]:
        say(f"note: {remark}", settings.quiet)


def configure_jax(devices: int, cache: bool, x64: bool = True) -> None:
    """One CPU device per core, float64 for exact judging, compiled programs kept between processes."""
    cores = num_cores()
    jax.config.update("jax_num_cpu_devices", min(devices, cores) if devices else cores)
    jax.config.update("jax_enable_x64", x64)
    if cache:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "hfac"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


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


def run_recorded(job: Job, request: _sweep.Request, folder: Path, asked: Interrupts) -> None:
    """Run record point by record point, writing each to the store as it comes.

    Raises:
      Stopped: if somebody asked to stop.
    """
    settings, algorithm = request.settings, job.algorithm
    notes = {"problem": request.problem, "algorithm": settings.algorithm, "settings": job.words}
    points = record_points(settings.steps)
    layout = engine.lay_out(algorithm, job.grid, job.seeds, job.record)
    program, plan, num_runs = layout.program, layout.program.plan, layout.num_runs
    progress = Progress(settings.steps, "steps", settings.quiet)
    store: results.Store | None = None
    total_samples, began = 0, time.perf_counter()
    for piece in stream(layout, points):
        done = total_samples + int(piece.num_samples.sum())
        rate = done / max(time.perf_counter() - began - program.compile_seconds, 1e-9)
        progress.update(piece.step, f"{num_runs} runs, {rate:,.0f} samples/s")
        if piece.point is not None:
            total_samples = done
            if store is None:
                shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), piece.record)
                labelled = results.template(shapes, points, layout.seeds, layout.coordinates)
                about = {**notes, "num_devices": len(plan.devices), "width": plan.width, "root": 0}
                store = results.Store(folder / "results.zarr", labelled.assign_attrs(results.provenance() | about))
            store.write(piece.point, piece.record, piece.num_samples)
        if asked.is_set and piece.step < settings.steps:
            progress.close()
            reached = f"stopped at step {piece.step:,} of {settings.steps:,}"
            raise Stopped(f"{reached}; {folder} holds the records before it")
    seconds = progress.close()
    assert store is not None
    store.annotate({"compile_seconds": program.compile_seconds, "run_seconds": seconds - program.compile_seconds})
    rate = num_runs * settings.steps / max(seconds - program.compile_seconds, 1e-9)
    say(
        f"ran in {clock(seconds)} ({program.compile_seconds:.1f} s of it compiling): {rate:,.0f} run-steps/s",
        settings.quiet,
    )


def judge_and_report(
    data: xarray.Dataset, problem: Problem, taus: Sequence[float], folder: Path, figures: bool, quiet: bool
) -> None:
    """Judge the records exactly, store the metrics, print the table, write summary.csv and the figures."""
    num_runs = data["status"].isel(step=0).size
    progress = Progress(num_runs, "runs judged exactly", quiet)
    judged = results.judge(data, metrics.exact(problem, taus), lambda done, total: progress.update(done))
    say(f"judged in {clock(progress.close())}; descending the exact objective for the reference lines", quiet)
    progress = Progress(1, "pieces of the exact descents", quiet)
    lowest = exact.minimize(problem, taus, progress=lambda done, total: progress.update(done, total=total)).value
    progress.close()
    references = dict(zip(map(float, taus), lowest.tolist(), strict=True))
    judged = judged.assign_coords(reference=("judged_tau", [references[float(tau)] for tau in taus]))
    results.save(judged, folder / "results.zarr")
    rows = results.summary(judged)
    comparison.write_csv(folder / "summary.csv", rows)
    if not quiet:
        print_table(rows, references)
    list_failures(judged, quiet)
    if figures:
        plots.save_all(judged, problem, references, folder / "figures")


def print_table(rows: Sequence[Mapping[str, Any]], references: Mapping[float, float]) -> None:
    """One line per configuration and judged tau, to stdout."""
    labels = [
        key
        for key in rows[0]
        if key
        not in ("interquartile_mean", "low", "high", "worst", "diverged", "seeds", "samples", "judged_tau", "reference")
    ]
    head = [*labels, "judged at", "samples", "interquartile mean [95 %]", "worst", "diverged", "exact descent"]
    table = [
        [
            *(f"{row[label]:.4g}" for label in labels),
            f"{row['judged_tau']:g}",
            f"{row['samples']:.3g}",
            statistics.format_interval(row["interquartile_mean"], row["low"], row["high"]),
            f"{row['worst']:.4f}" if np.isfinite(row["worst"]) else "diverged",
            f"{row['diverged']} of {row['seeds']}",
            f"{references[row['judged_tau']]:.4f}",
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *table]) for i in range(len(head))]
    for line in [head, *table]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def list_failures(data: xarray.Dataset, quiet: bool, at_most: int = 10) -> None:
    """Say which runs diverged, with configuration and first bad step."""
    status = data["status"].isel(step=-1)
    failed = np.argwhere(status.values != Status.OK)
    for where in failed[:at_most]:
        pick = dict(zip(status.dims, (int(i) for i in where), strict=True))
        run = data.isel(pick)
        config = plots.describe(data, {str(dim): i for dim, i in pick.items() if dim != "seed"})
        meaning = Status(int(status.isel(pick))).meaning
        say(
            f"diverged: {config}, seed {int(run['seed'])}, at step {int(run['failed_at'].isel(step=-1)):,}: {meaning}",
            quiet,
        )
    if len(failed) > at_most:
        say(f"diverged: {len(failed) - at_most} more", quiet)
