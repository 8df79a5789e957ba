"""``hfac plan PROBLEM``: what a sweep would cost, without running it."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfac.cli._sweep import Request

CALIBRATION_SECONDS = 1.0


def main(args: Sequence[str]) -> None:
    """Run the command."""
    from hfac.cli import _sweep

    request = _sweep.resolve(list(args), "plan")
    if request is not None:
        _estimate(request)


def _estimate(request: "Request") -> None:
    """Compile the sweep's own program, time a second of it, and scale."""
    import jax
    import numpy as np

    from hfac import metrics, results
    from hfac.cli import _sweep_run
    from hfac.cli._progress import clock
    from hfac.engine import _sweep as engine
    from hfac.engine import record_points
    from hfac.schedules import Coordinates

    job, settings = _sweep_run.prepare(request), request.settings
    points = record_points(settings.steps)
    layout = engine.lay_out(job.algorithm, job.grid, job.seeds)
    program, runs, plan, seeds = layout.program, layout.runs, layout.program.plan, layout.seeds
    states = program.start(runs)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states)) // plan.num_slots
    states, history = jax.block_until_ready(program.advance(runs, states, [16]))
    steps, seconds = 16, 0.0
    while seconds < CALIBRATION_SECONDS:
        steps *= 2
        began = time.perf_counter()
        states, history = jax.block_until_ready(program.advance(runs, states, [steps]))
        seconds = time.perf_counter() - began
    record_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(history)) // plan.num_slots
    one = jax.tree.map(lambda leaf: np.asarray(leaf[:1, :1]), history.record)
    grid_of_one = results.dataset(one, np.ones((1, 1)), np.array([0]), np.array([0]), Coordinates((), {}), {})
    repeated = grid_of_one.isel(step=[0] * min(len(points), 16))
    metric = metrics.exact(job.problem, settings.judge)
    results.judge(repeated, metric)
    began = time.perf_counter()
    results.judge(repeated, metric)
    judging = (time.perf_counter() - began) / repeated.sizes["step"] * len(points) * job.num_runs
    running = seconds / steps * settings.steps
    pace = f"{seconds / steps / job.num_runs * 1e9:.0f} ns per run-step"
    configurations = job.num_runs // len(seeds)
    rows = {
        "runs": f"{job.num_runs} = {configurations} configurations x {len(seeds)} seeds",
        "layout": f"{len(plan.devices)} devices x {plan.num_blocks} blocks x {plan.width} runs",
        "compilations": f"2 (start, step), {program.compile_seconds:.1f} s here, then kept in the cache",
        "state": f"{_size(state_bytes)} a run, {_size(state_bytes * plan.num_slots)} in all",
        "results": f"{len(points)} record points, {_size(record_bytes * len(points) * job.num_runs)} uncompressed",
        "running": f"{clock(running)}, {pace}, from {steps:,} steps just now",
        "judging": clock(judging),
    }
    for name, text in rows.items():
        print(f"{name:<13} {text}")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
