"""``hfac plan PROBLEM``: what a sweep would cost, without running it."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray

    from hfac.cli._sweep import Request
    from hfac.engine._sweep import Layout
    from hfac.problem import Problem

CALIBRATION_SECONDS = 2.5  # of all intervals; the best counts, as others may be at work on the machine
NUM_WRITES = 8  # record points written to a temporary folder


def main(args: Sequence[str]) -> None:
    """Run the command."""
    from hfac.cli import _sweep

    request = _sweep.resolve(list(args), "plan")
    if request is not None:
        _estimate(request)


def _estimate(request: "Request") -> None:
    """Compile the sweep's own programs, time a little of each phase, and scale."""
    import jax

    from hfac.cli import _sweep_run
    from hfac.cli._progress import clock
    from hfac.engine import _sweep as engine
    from hfac.engine import record_points

    job = _sweep_run.prepare(request)
    settings = job.request.settings
    points = record_points(settings.steps)
    layout = engine.lay_out(job.algorithm, job.grid, job.seeds, job.record)
    program, plan = layout.program, layout.program.plan
    pace, records, num_samples, state_bytes = _calibrate(layout)
    record_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(records[-1])) // job.num_runs
    judging, descending = _judge_a_little(job.problem, settings.judge, records, len(points))
    running = pace * settings.steps
    writing = _write_a_little(layout, records[-1], num_samples, len(points))
    configurations = job.num_runs // len(layout.seeds)
    rows = {
        "runs": f"{job.num_runs} = {configurations} configurations x {len(layout.seeds)} seeds",
        "layout": f"{len(plan.devices)} devices x {plan.num_blocks} blocks x {plan.width} runs",
        "compilations": f"4 (start, step, judge, descent), {program.compile_seconds:.1f} s here for the first two, "
        f"then {'kept in the cache' if settings.cache else 'thrown away'}",
        "memory": f"{_size(state_bytes)} of state a run, {_size(program.peak_bytes)} in all",
        "results": f"{len(points)} record points, {_size(record_bytes * len(points) * job.num_runs)} uncompressed",
        "running": f"{clock(running)}, {pace / job.num_runs * 1e9:.0f} ns per run-step, as timed just now",
        "writing": clock(writing),
        "judging": clock(judging * job.num_runs),
        "references": f"{clock(descending)}, exact descents",
        "in all": f"{clock(running + writing + judging * job.num_runs + descending)} and what is compiled",
    }
    for name, text in rows.items():
        print(f"{name:<13} {text}")


def _calibrate(layout: "Layout") -> tuple[float, list[Any], Any, int]:
    """Seconds per step, the records [R, ...] of ever longer intervals, the samples of the last, state bytes a run."""
    import jax
    import numpy as np

    program, runs = layout.program, layout.runs
    states = program.start(runs)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states)) // program.plan.num_slots
    records, steps, seconds, pace = [], 1, 0.0, float("inf")
    while seconds < CALIBRATION_SECONDS:
        steps = max(steps + 1, round(1.4 * steps))  # record points about as far apart as those of a sweep
        began = time.perf_counter()
        states, history = jax.block_until_ready(program.advance(runs, states, [steps]))
        took = time.perf_counter() - began
        seconds, pace = seconds + took, min(pace, took / steps)
        records.append(jax.device_get(jax.tree.map(lambda leaf: leaf[: layout.num_runs, 0], history.record)))
    num_samples = np.asarray(history.num_samples)[: layout.num_runs, 0]
    return pace, records, num_samples, state_bytes


def _judge_a_little(
    problem: "Problem", taus: Sequence[float], records: list[Any], num_points: int
) -> tuple[float, float]:
    """Seconds of judging one run at every point, and of the descents to the reference lines."""
    import jax
    import numpy as np

    from hfac import exact, metrics, results
    from hfac.schedules import Coordinates

    first_run = jax.tree.map(lambda *leaves: np.stack([leaf[:1] for leaf in leaves], 1), *records)
    steps = np.arange(len(records))
    run: xarray.Dataset = results.dataset(
        first_run, np.ones((1, len(records))), steps, np.array([0]), Coordinates((), {}), {}
    )
    metric = metrics.exact(problem, taus)
    results.judge(run, metric)
    began = time.perf_counter()
    results.judge(run, metric)
    judging = (time.perf_counter() - began) / len(records) * num_points
    times: list[float] = []
    exact.minimize(problem, taus[0], progress=lambda done, total: times.append(time.perf_counter()), num_steps=100)
    per_step = float(np.median(np.diff(times))) / exact.STEPS_PER_REPORT
    return judging, per_step * exact.DESCENT_STEPS * len(exact.DESCENT_RATES) * len(taus)


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


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
