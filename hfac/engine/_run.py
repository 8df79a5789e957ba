"""One run, alone or under somebody's transformation."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hfac._compiler import jaxpr
from hfac.engine import _layout, _loop, _program, _sharding
from hfac.types import Algorithm, Key


def run(
    algorithm: Algorithm,
    key: Key,
    schedules: Any,
    num_steps: int,
    record: _loop.Record | None = None,
    record_at: Sequence[int] | None = None,
    initial: Any = None,
) -> tuple[Any, _loop.History]:
    """Run an algorithm once, in one compiled program; `vmap` and `jit` it as you like.

    Args:
      algorithm: what `hfac.algorithms` builds, or any `Algorithm`.
      key: a `run_key`.
      schedules: handed to every step.
      num_steps: iterations to do.
      record: ``(state, info, schedules) -> pytree``; `info` is the last step's, with the samples summed since the
        record point before. The solution's x and the run's status unless given.
      record_at: record points, counted from the start of this call; log-spaced unless given.
      initial: a state to continue from, or an upper variable to start at.

    Returns:
      The last state and the `History`.

    Raises:
      ValueError: if num_steps or record_at is out of range.
    """
    if not isinstance(key, jax.Array):
        raise ValueError(f"key must be a key, as hfac.run_key(seed) makes one, got {key!r}")
    _layout.check_numbers(algorithm, schedules)
    points = _loop.record_points(num_steps, record_at)
    lengths = jnp.asarray(np.diff([*points, num_steps], prepend=0), jnp.int32)
    record = record or _loop.default_record(algorithm)
    one = _program.Runs(key, schedules, initial)
    is_open = jaxpr.is_tracing() or jax.config.jax_disable_jit  # type: ignore[attr-defined]
    if is_open:  # what the problem closes over may be traced, or is to be looked at
        first = _loop.first_state(algorithm, *one)
        state, history = _loop.advance(algorithm, record, key, schedules, first, lengths, algorithm.shared_arrays)
    else:  # a sweep of one
        plan = _sharding.Placement(tuple(key.devices()), num_blocks=1, width=1)
        alone = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], one)
        whole = _program.program(algorithm, record, plan).whole(alone, lengths)
        state, history = jax.tree.map(lambda leaf: leaf[0], whole)
    return state, jax.tree.map(lambda leaf: leaf[: len(points)], history)
