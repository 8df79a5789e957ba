"""One run again, to the step at which its numbers went wrong, and what went wrong there."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from hfac._compiler import random
from hfac._trees import named_leaves
from hfac.engine._layout import lay_out
from hfac.engine._stream import stream
from hfac.types import Algorithm, Key, PyTree, Status


class Replay(NamedTuple):
    """A run that was repeated."""

    state: Any  # at the end, or just before the bad step
    failed_at: int  # the bad step, or -1
    status: Status
    findings: tuple[str, ...]  # what went wrong there, in words; empty for a healthy run


def replay(
    algorithm: Algorithm,
    key: Key,
    schedules: Any,
    num_steps: int,
    debug: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """Repeat a run; at its first bad step, say which quantity was not finite and where it was computed.

    Args:
      algorithm: as for `hfac.run`.
      key: the run's, from `run_key`.
      schedules: of this run alone.
      num_steps: iterations.
      debug: look for what went wrong, step by step and slowly.
      progress: called with (steps done, steps in all) of the run.
    """
    last = _state_at(num_steps, algorithm, key, schedules, progress)
    failed_at, status = int(last.failed_at), Status(int(last.status))
    if status == Status.OK or not debug or algorithm.host is not None:
        return Replay(last, failed_at, status, ())
    before = _state_at(failed_at, algorithm, key, schedules, progress)
    step_key = random.fold_in(random.fold_in(key, 1), before.step)
    return Replay(before, failed_at, status, tuple(_findings(algorithm, step_key, before, schedules)))


def _state_at(
    step: int, algorithm: Algorithm, key: Key, schedules: Any, progress: Callable[[int, int], None]
) -> PyTree:
    layout = lay_out(algorithm, schedules, 1)
    runs = layout.runs._replace(key=jnp.broadcast_to(key, layout.runs.key.shape))
    for piece in stream(layout._replace(runs=runs), [step]):
        progress(piece.step, step)
    return jax.tree.map(lambda leaf: leaf[0], piece.states)


def _findings(algorithm: Algorithm, key: Key, state: Any, schedules: Any) -> list[str]:
    found = []
    checked = checkify.checkify(algorithm.step, errors=checkify.float_checks | checkify.index_checks)
    error = checked(key, state, schedules)[0].get()
    if error is not None:
        found.append(f"checkify: {' '.join(error.split())}")
    origin = _first_not_finite(algorithm, key, state, schedules)
    if origin is not None:
        found.append(f"first number that is not finite: {origin}")
    sizes = {name: float(np.max(np.abs(leaf))) for name, leaf in named_leaves(state).items() if _is_number(leaf)}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    found.append("largest numbers before it: " + ", ".join(f"{name} {sizes[name]:.3g}" for name in largest))
    return found


def _first_not_finite(algorithm: Algorithm, key: Key, state: Any, schedules: Any) -> str | None:
    """Primitive by primitive, without compilation, until one gives nan or inf."""
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            algorithm.step(key, state, schedules)
    except FloatingPointError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename and "_replay" not in frame.filename]
        frame = (own or list(frames))[-1]
        what = " ".join(str(error).split(".")[0].split())
        return f"{what}, at {Path(frame.filename).name}:{frame.lineno}: {frame.line}"
    return None


def _is_number(leaf: Any) -> bool:
    return np.issubdtype(np.asarray(leaf).dtype, np.floating) and np.size(leaf) > 0
