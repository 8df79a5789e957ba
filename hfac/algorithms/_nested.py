"""The nested loop: N lower steps for every upper step, with the estimators of the single-loop method.

First order, model-free, nested. N = 1 is `hfac`.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from hfac.algorithms._hfac import hfac
from hfac.problem import Problem
from hfac.schedules import Schedules
from hfac.types import Algorithm, Key, Needs

NEEDS = Needs(nested=True)


def nested(
    problem: Problem,
    *,
    inner_steps: int = 10,
    sampler: Literal["markov", "iid", "exact"] = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    difference: Literal["forward", "central"] = "forward",
    dtype: Any = jnp.float32,
) -> Algorithm:
    """Build the nested-loop baseline of Zeng et al. [arXiv 2601.16399].

    Both policies and all critics move at every step, x at every N-th. A step is one lower step, so that steps and
    samples are comparable with `hfac`; the schedules count lower steps too.

    Args:
      problem: a tabular bi-level problem.
      inner_steps: N >= 1, lower steps for every upper step.
      sampler: markov, iid, or exact (expectations; needs the model).
      batch_size: chains per policy, >= 1.
      coupled: both chains use the same random numbers.
      difference: forward or central penalty difference.
      dtype: of every float in a step.

    Returns:
      An `Algorithm` with the state of `hfac`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    if int(inner_steps) != inner_steps or inner_steps < 1:
        raise ValueError(f"inner_steps must be a whole number >= 1, got {inner_steps}")
    single = hfac(problem, sampler=sampler, batch_size=batch_size, coupled=coupled, difference=difference, dtype=dtype)

    def step(key: Key, state: Any, schedules: Schedules) -> tuple[Any, Any]:
        is_due = (state.step + 1) % inner_steps == 0
        scale, floor = (jnp.where(is_due, jnp.asarray(v), 0) for v in (schedules.upper.scale, schedules.upper.floor))
        upper = dataclasses.replace(schedules.upper, scale=scale, floor=floor)
        return single.step(key, state, dataclasses.replace(schedules, upper=upper))

    return single._replace(step=step)
