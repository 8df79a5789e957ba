"""Many runs in one compiled program, and what they recorded as labelled data."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from hfac import results
from hfac._compiler import jaxpr
from hfac.engine import _loop
from hfac.engine._layout import Layout, lay_out
from hfac.engine._stream import stream
from hfac.schedules import Grid, Schedules
from hfac.types import Algorithm, PyTree


def sweep(
    algorithm: Algorithm,
    schedules: Schedules | Grid,
    seeds: Any,
    num_steps: int,
    record: _loop.Record | None = None,
    record_at: Sequence[int] | None = None,
    initial: Any = None,
    return_state: bool = False,
    width: int | None = None,
    root: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Run every configuration with every seed, in one compiled call or in pieces of about a second.

    Args:
      algorithm: what `hfac.algorithms` builds, or any `Algorithm`.
      schedules: one `Schedules`, or what `hfac.schedules.grid` returned.
      seeds: a count, or a list of whole numbers; a run's random stream depends on its seed and nothing else.
      num_steps: iterations of every run.
      record: as in `hfac.run`.
      record_at: as in `hfac.run`.
      initial: states or upper variables to start from, leaves [configurations x seeds, ...].
      return_state: also return the last states, leaves [configurations x seeds, ...].
      width: runs side by side in one block on one device; chosen unless given.
      root: root of all random streams.
      progress: called with (steps done, steps in all); one compiled call, with the same numbers, unless given.

    Returns:
      An `xarray.Dataset` with one dimension per swept quantity, `seed` and `step`; with `return_state`, also states.

    Raises:
      ValueError: if an argument is out of range.
    """
    if jaxpr.is_tracing():
        raise ValueError("a sweep returns labelled data on the host: call it outside of jit, grad and vmap; `run` may")
    points = _loop.record_points(num_steps, record_at)
    layout = lay_out(algorithm, schedules, seeds, record, initial, width, root)
    compiled, plan = layout.program, layout.program.plan
    before, began = compiled.compile_seconds, time.perf_counter()
    move = _at_once if progress is None else functools.partial(_in_pieces, progress)
    states, record, num_samples = move(layout, points, num_steps)
    compile_seconds = compiled.compile_seconds - before
    provenance = {
        "compile_seconds": compile_seconds,
        "run_seconds": time.perf_counter() - began - compile_seconds,
        "num_devices": len(plan.devices),
        "width": plan.width,
        "root": root,
    }
    dataset = results.dataset(
        record,
        num_samples,
        points,
        layout.seeds,
        layout.coordinates,
        provenance,
    )
    return (dataset, states) if return_state else dataset


def _at_once(layout: Layout, points: np.ndarray, num_steps: int) -> tuple[PyTree, PyTree, np.ndarray]:
    """Last states, records and samples in between, leaves [R, ...] and [R, points, ...], from one compiled call."""
    program, runs = layout.program, layout.runs
    states, history = jax.block_until_ready(program.whole(runs, np.diff(points, prepend=0)))
    if points[-1] < num_steps:
        states, _ = jax.block_until_ready(program.advance(runs, states, [num_steps - points[-1]]))
    states, history = jax.tree.map(lambda leaf: leaf[: layout.num_runs], (states, history))
    return states, jax.device_get(history.record), np.asarray(history.num_samples)


def _in_pieces(
    progress: Callable[[int, int], None], layout: Layout, points: np.ndarray, num_steps: int
) -> tuple[PyTree, PyTree, np.ndarray]:
    """The same, piece by piece."""
    records, counts = [], []
    for piece in stream(layout, np.union1d(points, [num_steps])):
        progress(piece.step, num_steps)
        if piece.point is not None and piece.point < len(points):
            records.append(piece.record)
            counts.append(piece.num_samples)
    states = jax.tree.map(lambda leaf: leaf[: layout.num_runs], piece.states)
    return states, jax.tree.map(lambda *leaves: np.stack(leaves, 1), *records), np.stack(counts, 1)
