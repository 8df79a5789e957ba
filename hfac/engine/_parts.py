"""A sweep that survives: every record goes to the store, the states to checkpoints, and it goes on from there."""

import time
from collections.abc import Callable

import jax
import numpy as np

from hfac.engine._checkpoint import Checkpoints, Snapshot
from hfac.engine._layout import Layout
from hfac.engine._stream import Piece, stream
from hfac.results import Part
from hfac.types import PyTree

LEAST_SECONDS = 5.0  # between checkpoints at record points, which come thick and fast at the start


def first_shapes(layout: Layout) -> PyTree:
    """Shapes of the states of a layout's runs, leaves [R, ...]."""
    slots = layout.program.shapes(layout.runs)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((layout.num_runs, *leaf.shape[1:]), leaf.dtype), slots)


def advance_part(
    layout: Layout,
    part: Part,
    checkpoints: Checkpoints,
    start: Snapshot | None,
    watch: Callable[[Piece, np.ndarray], bool],
    every_seconds: float,
) -> bool:
    """Move the runs of a part to its last record point; records are written before the checkpoint that follows them.

    Args:
      layout: of the part's runs.
      part: that they are recorded in.
      checkpoints: that their states go to.
      start: the newest of them, or None to begin.
      watch: called after every piece of about a second with it and the transitions so far [R]; True asks to save and
        stop.
      every_seconds: longest time between checkpoints.

    Returns:
      Whether the end was reached.

    Raises:
      OSError: if something cannot be written; everything written before is whole.
    """
    samples, reached = (np.zeros(layout.num_runs, np.int64), 0) if start is None else (start.samples, start.point)
    last = time.perf_counter()
    for piece in stream(layout, part.points, start):
        pending = piece.num_samples
        if piece.point is not None:
            samples, pending, reached = samples + pending, np.zeros_like(pending), piece.point + 1
            part.write(piece.point, piece.record, samples)
        has_asked, is_end = watch(piece, samples + pending), reached == len(part.points)
        waited = time.perf_counter() - last
        is_due = waited > every_seconds or (piece.point is not None and waited > LEAST_SECONDS)
        if has_asked or is_end or is_due:
            states = jax.device_get(jax.tree.map(lambda leaf: leaf[: layout.num_runs], piece.states))
            checkpoints.save(Snapshot(piece.step, reached, pending, samples, states))
            last = time.perf_counter()
        if has_asked and not is_end:
            return False
    return True
