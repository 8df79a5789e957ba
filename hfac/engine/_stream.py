"""A sweep in pieces, so that whoever runs it can report, write and stop between them."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfac.engine import _checkpoint, _sharding
from hfac.engine._layout import Layout
from hfac.types import PyTree

PIECE_SECONDS = 1.0  # a piece grows until it takes about this long
FIRST_PIECE = 64  # steps


class Piece(NamedTuple):
    """Where a sweep stands after a piece."""

    step: int  # done by every run of the layout
    point: int | None  # index of the record point just reached, or None between two
    record: PyTree  # leaves [R, ...] at that point, on the host, or None
    num_samples: np.ndarray  # int64 [R], transitions since the record point before
    states: PyTree  # leaves [slots, ...]; the next piece consumes them


def stream(
    layout: Layout, points: Sequence[int] | np.ndarray, start: _checkpoint.Snapshot | None = None
) -> Iterator[Piece]:
    """Run a layout to every record point, in pieces of about a second. The numbers are those of one piece.

    Args:
      layout: from `lay_out`.
      points: steps to record at, increasing; the last one ends the sweep.
      start: where to go on from; the beginning unless given.
    """
    program, runs, num_runs = layout.program, layout.runs, layout.num_runs
    if start is None:
        states, step, reached, num_samples = program.start(runs), 0, 0, np.zeros(num_runs, np.int64)
    else:
        states = jax.tree.map(jnp.asarray, _sharding.pad(program.plan, start.states))
        step, reached, num_samples = start.step, start.point, start.num_samples
    size = 1 if program.waits_for_host else FIRST_PIECE
    for index, target in list(enumerate(points))[reached:]:
        while True:
            length = int(min(size, target - step))
            began = time.perf_counter()
            states, history = jax.block_until_ready(program.advance(runs, states, [length]))
            if length == size and time.perf_counter() - began < PIECE_SECONDS / 2:
                size *= 2
            step += length
            num_samples = num_samples + np.asarray(history.num_samples)[:num_runs, 0]
            is_there = step == target
            record = jax.device_get(jax.tree.map(lambda leaf: leaf[:num_runs, 0], history.record)) if is_there else None
            yield Piece(step, index if is_there else None, record, num_samples, states)
            if is_there:
                break
        num_samples = np.zeros(num_runs, np.int64)
