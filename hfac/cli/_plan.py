"""``hfac plan PROBLEM``: what a sweep would cost, without running it."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import xarray

    from hfac.cli._request import Request
    from hfac.engine import Layout
    from hfac.judging import Progress
    from hfac.runs import Execution, Job

PROGRAMS = 4  # that are compiled for every problem
CALIBRATION_SECONDS = 2.5  # of all intervals; the best counts, as others may be at work on the machine
SAMPLE = 65_536  # runs that are timed, at most; time and memory of more are in proportion
JUDGED = 4  # runs per device
REFERENCE_PIECES = 3  # that are timed; the first compiles
NUM_WRITES = 8  # record points written to a temporary folder


def main(args: Sequence[str]) -> None:
    """Run the command."""
    from hfac.cli import _sweep

    request = _sweep.resolve(list(args), "plan")
    if request is not None:
        _estimate(request)


class Cost(NamedTuple):
    """What the runs of one problem would cost."""

    pace: float  # seconds of a step of all runs that were timed
    timed: int  # runs
    compiling: float  # seconds
    running: float
    writing: float
    judging: float
    descending: float  # to the reference lines
    peak_bytes: float  # while running
    record_bytes: int  # of one run at one record point
    devices: tuple[Any, ...]


def _estimate(request: "Request") -> None:
    """Compile the sweep's own programs for some of its runs, time a little of each phase, and scale."""
    from hfac import engine, runs
    from hfac._progress import clock, waiting
    from hfac.cli import _sweep_run

    job, execution = _sweep_run.prepare(request)
    settings = request.settings
    mine = math.ceil(job.num_runs / execution.share[1])
    beside = runs.at_once(job, execution)
    points, width = job.points, execution.block_width or None
    costs: list[Cost] = []
    for i in range(len(job.variants)):
        which = f", problem {i + 1} of {len(job.variants)}" if len(job.variants) > 1 else ""
        with waiting(f"timing a little of each phase{which}", settings.quiet):
            costs.append(_cost(job, i, mine / len(job.variants), beside, execution))
    plan = engine.make_plan(beside, costs[0].devices, width)
    running, writing, judging, descending = (
        sum(getattr(cost, name) for cost in costs) for name in ("running", "writing", "judging", "descending")
    )
    stored = costs[0].record_bytes * len(points) * mine
    share = f"; {mine:,} of them in a share" if mine < job.num_runs else ""
    state = engine.state_bytes(job.algorithm, job.grid.schedules)
    configurations, several = job.num_runs // len(job.seeds), len(costs)
    rows = {
        "runs": f"{job.num_runs:,} = {configurations:,} configurations x {len(job.seeds):,} seeds{share}",
        "layout": f"{len(plan.devices)} devices x {plan.num_blocks} blocks x {plan.width} runs",
        "compilations": f"{PROGRAMS * several} (start, step, judge, descent"
        + (f", for each of {several} problems" if several > 1 else "")
        + f"), {sum(cost.compiling for cost in costs):.1f} s here for the first two, "
        f"then {'kept in the cache' if settings.cache else 'thrown away'}",
        "memory": f"{runs.size(state)} of state a run, {runs.size(max(c.peak_bytes for c in costs))} in all while "
        f"running, {runs.size(runs.LOADED * stored)} while judging",
        "results": f"{len(points)} record points, {runs.size(stored)} uncompressed",
        "running": f"{clock(running)}, {costs[0].pace / costs[0].timed * 1e9:,.1f} ns per run-step, "
        f"as timed just now with {costs[0].timed:,} runs",
        "writing": clock(writing),
        "judging": clock(judging),
        "references": f"{clock(descending)}, exact descents",
        "in all": f"{clock(running + writing + judging + descending)} and what is compiled",
    }
    for name, text in rows.items():
        print(f"{name:<13} {text}")


def _cost(job: "Job", index: int, num_runs: float, beside: int, execution: "Execution") -> Cost:
    """What so many runs of one of the problems would cost, `beside` of them side by side."""
    import jax
    import numpy as np

    from hfac import engine

    variant = job.variants[index]
    num_seeds = min(len(job.seeds), -(-SAMPLE // job.grid.size))
    chosen = np.arange(min(job.grid.size * num_seeds, beside, SAMPLE))
    width = execution.block_width or None
    layout = engine.lay_out(
        variant.algorithm, job.grid, job.seeds[:num_seeds], variant.record, subset=chosen, width=width
    )
    num_points = len(job.points)
    pace, records, last, num_samples = _calibrate(layout, CALIBRATION_SECONDS / len(job.variants))
    judging, descending = _judge_a_little(variant.problem, job.judge, records, num_points)
    program, times = layout.program, num_runs / chosen.size
    return Cost(
        pace=pace,
        timed=chosen.size,
        compiling=program.compile_seconds,
        running=pace * job.steps * times,
        writing=_write_a_little(layout, last, num_samples, num_points) * times,
        judging=judging * num_runs,
        descending=descending,
        peak_bytes=program.peak_bytes * beside / chosen.size,
        record_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(last)) // chosen.size,
        devices=program.plan.devices,
    )


def _calibrate(layout: "Layout", enough: float) -> tuple[float, list[Any], Any, Any]:
    """Seconds per step, records [few, ...] of ever longer intervals, the last one [R, ...] and the samples until it."""
    import jax
    import numpy as np

    program, runs = layout.program, layout.runs
    states = program.start(runs)
    few = min(1 + JUDGED * jax.local_device_count(), layout.num_runs)
    records: list[Any] = []
    steps, seconds, pace = 1, 0.0, float("inf")
    while seconds < enough:
        steps = max(steps + 1, round(1.4 * steps))  # record points about as far apart as those of a sweep
        began = time.perf_counter()
        states, history = jax.block_until_ready(program.advance(runs, states, [steps]))
        took = time.perf_counter() - began
        seconds, pace = seconds + (took if records else 0.0), min(pace, took / steps)  # the first also compiles
        last = jax.device_get(jax.tree.map(lambda leaf: leaf[: layout.num_runs, 0], history.record))
        records.append(jax.tree.map(lambda leaf: leaf[:few], last))
    return pace, records, last, np.asarray(history.num_samples)[: layout.num_runs, 0]


def _judge_a_little(problem: Any, taus: Sequence[float], records: list[Any], num_points: int) -> tuple[float, float]:
    """Seconds of judging one more run at every point, and of the descents to the reference lines."""
    import jax
    import numpy as np

    from hfac import judging, results
    from hfac.schedules import Coordinates

    own, steps = judging.judge_of(problem, taus), np.arange(len(records))

    def judge(count: int) -> float:
        runs = jax.tree.map(lambda *leaves: np.stack([leaf[:count] for leaf in leaves], 1), *records)
        data: xarray.Dataset = results.dataset(
            runs, np.ones((count, len(records))), steps, np.arange(count), Coordinates((), {}), {}
        )
        began = time.perf_counter()
        results.judge(data, own.metric)
        return time.perf_counter() - began

    few, devices = jax.tree.leaves(records)[0].shape[0], jax.local_device_count()
    judge(min(devices, few))  # compiles
    seconds = max(judge(few) - judge(1), 0.0) / (few - 1) if few > devices else judge(few) / few
    seconds *= num_points / len(records)
    if own.reference is None:
        return seconds, 0.0
    return seconds, _begin_reference(own.reference)


class _EnoughError(Exception):
    """A reference was computed for long enough."""


def _begin_reference(reference: Callable[["Progress"], Any]) -> float:
    """Seconds that a reference would take, by its first pieces."""
    import numpy as np

    times: list[float] = []
    pieces = 1

    def watch(done: int, total: int) -> None:
        nonlocal pieces
        pieces = total
        times.append(time.perf_counter())
        if len(times) > REFERENCE_PIECES:
            raise _EnoughError

    began = time.perf_counter()
    try:
        reference(watch)
    except _EnoughError:
        return float(np.median(np.diff(times))) * pieces
    return time.perf_counter() - began


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
