"""``hfac plan PROBLEM``: what a sweep would cost, without running it."""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray

    from hfac.cli._request import Request
    from hfac.engine import Layout
    from hfac.tabular.problem import Problem

CALIBRATION_SECONDS = 2.5  # of all intervals; the best counts, as others may be at work on the machine
SAMPLE = 65_536  # runs that are timed, at most; time and memory of more are in proportion
JUDGED = 4  # runs per device
NUM_WRITES = 8  # record points written to a temporary folder


def main(args: Sequence[str]) -> None:
    """Run the command."""
    from hfac.cli import _sweep

    request = _sweep.resolve(list(args), "plan")
    if request is not None:
        _estimate(request)


def _estimate(request: "Request") -> None:
    """Compile the sweep's own programs for some of its runs, time a little of each phase, and scale."""
    import jax
    import numpy as np

    from hfac import engine
    from hfac.cli import _sweep_run
    from hfac.cli._memory import LOADED, at_once, size
    from hfac.cli._progress import clock
    from hfac.engine import make_plan, record_points

    one = dataclasses.replace(request.settings, seeds=1)
    job = _sweep_run.prepare(request._replace(settings=one), is_run=False)
    configurations, settings = job.num_runs, dataclasses.replace(job.request.settings, seeds=request.settings.seeds)
    num_seeds = min(settings.seeds, -(-SAMPLE // configurations))
    num_all = configurations * settings.seeds
    num_runs = at_once(job.request._replace(settings=settings), job.grid[1])
    points, width = record_points(settings.steps), settings.block_width or None
    subset = np.arange(min(configurations * num_seeds, num_runs, SAMPLE))
    seeds = np.arange(settings.first_seed, settings.first_seed + num_seeds)
    layout = engine.lay_out(job.algorithm, job.grid, seeds, job.record, subset=subset, width=width)
    program, times = layout.program, num_runs / subset.size
    plan = make_plan(num_runs, program.plan.devices, width)
    pace, records, last, num_samples = _calibrate(layout)
    record_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(last)) // subset.size
    judging, descending = _judge_a_little(job.problem, settings.judge, records, len(points))
    running, judging = pace * settings.steps * times, judging * num_runs
    writing = _write_a_little(layout, last, num_samples, len(points)) * times
    stored = record_bytes * len(points) * num_runs
    share = f"; {num_runs:,} of them in a share" if num_runs < num_all else ""
    state = engine.state_bytes(job.algorithm, job.grid[0])
    rows = {
        "runs": f"{num_all:,} = {configurations:,} configurations x {settings.seeds:,} seeds{share}",
        "layout": f"{len(plan.devices)} devices x {plan.num_blocks} blocks x {plan.width} runs",
        "compilations": f"4 (start, step, judge, descent), {program.compile_seconds:.1f} s here for the first two, "
        f"then {'kept in the cache' if settings.cache else 'thrown away'}",
        "memory": f"{size(state)} of state a run, {size(program.peak_bytes * times)} in all while running, "
        f"{size(LOADED * stored)} while judging",
        "results": f"{len(points)} record points, {size(stored)} uncompressed",
        "running": f"{clock(running)}, {pace / subset.size * 1e9:,.1f} ns per run-step, "
        f"as timed just now with {subset.size:,} runs",
        "writing": clock(writing),
        "judging": clock(judging),
        "references": f"{clock(descending)}, exact descents",
        "in all": f"{clock(running + writing + judging + descending)} and what is compiled",
    }
    for name, text in rows.items():
        print(f"{name:<13} {text}")


def _calibrate(layout: "Layout") -> tuple[float, list[Any], Any, Any]:
    """Seconds per step, records [few, ...] of ever longer intervals, the last one [R, ...] and the samples until it."""
    import jax
    import numpy as np

    program, runs = layout.program, layout.runs
    states = program.start(runs)
    few = min(1 + JUDGED * jax.local_device_count(), layout.num_runs)
    records: list[Any] = []
    steps, seconds, pace = 1, 0.0, float("inf")
    while seconds < CALIBRATION_SECONDS:
        steps = max(steps + 1, round(1.4 * steps))  # record points about as far apart as those of a sweep
        began = time.perf_counter()
        states, history = jax.block_until_ready(program.advance(runs, states, [steps]))
        took = time.perf_counter() - began
        seconds, pace = seconds + (took if records else 0.0), min(pace, took / steps)  # the first also compiles
        last = jax.device_get(jax.tree.map(lambda leaf: leaf[: layout.num_runs, 0], history.record))
        records.append(jax.tree.map(lambda leaf: leaf[:few], last))
    return pace, records, last, np.asarray(history.num_samples)[: layout.num_runs, 0]


def _judge_a_little(
    problem: "Problem", taus: Sequence[float], records: list[Any], num_points: int
) -> tuple[float, float]:
    """Seconds of judging one more run at every point, and of the descents to the reference lines."""
    import jax
    import numpy as np

    from hfac import exact, metrics, results
    from hfac.schedules import Coordinates

    metric, steps = metrics.exact(problem, taus), np.arange(len(records))

    def judge(count: int) -> float:
        runs = jax.tree.map(lambda *leaves: np.stack([leaf[:count] for leaf in leaves], 1), *records)
        data: xarray.Dataset = results.dataset(
            runs, np.ones((count, len(records))), steps, np.arange(count), Coordinates((), {}), {}
        )
        began = time.perf_counter()
        results.judge(data, metric)
        return time.perf_counter() - began

    few, devices = jax.tree.leaves(records)[0].shape[0], jax.local_device_count()
    judge(min(devices, few))  # compiles
    judging = max(judge(few) - judge(1), 0.0) / (few - 1) if few > devices else judge(few) / few
    times: list[float] = []
    exact.minimize(problem, taus[0], progress=lambda done, total: times.append(time.perf_counter()), num_steps=100)
    per_step = float(np.median(np.diff(times))) / exact.STEPS_PER_REPORT
    return judging / len(records) * num_points, per_step * exact.DESCENT_STEPS * len(exact.DESCENT_RATES) * len(taus)


def _write_a_little(layout: "Layout", record: Any, num_samples: Any, num_points: int) -> float:
    """Seconds of making the sweep's store and writing every record point to it."""
    import jax
    import numpy as np

    from hfac import results

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), record)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        store = results.Store.create(Path(folder) / "results.zarr", {})
        part = store.add(layout.table, shapes, np.arange(num_points), layout.program.plan.width)
        made = time.perf_counter()
        for index in range(min(NUM_WRITES, num_points)):
            part.write(index, record, num_samples)
        return made - began + (time.perf_counter() - made) / min(NUM_WRITES, num_points) * num_points
