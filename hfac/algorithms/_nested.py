"""The nested loop: N lower steps for every upper step, with the estimators of the single-loop method.

First order, model-free, nested. N = 1 is `hfac`.
"""

from typing import Any, Literal

import jax.numpy as jnp

from hfac.algorithms import _common
from hfac.algorithms._hfac import hfac
from hfac.problem import Problem
from hfac.types import Algorithm, Needs

NEEDS = Needs(nested=True, penalty=True)


def nested(
    problem: Problem,
    *,
    inner_steps: int = 10,
    sampler: Literal["markov", "iid", "exact"] = "markov",
    batch_size: int = 1,
    coupled: bool = False,
    difference: Literal["forward", "central"] = "forward",
    pen_rate: float = 1.0,
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
      pen_rate: rate of theta_pen's actor as a multiple of theta's, in (0, 1].
      dtype: of every float in a step.

    Returns:
      An `Algorithm` with the state of `hfac`.

    Raises:
      ValueError: if an option is out of range or does not go with another.
    """
    single = hfac(
        problem,
        sampler=sampler,
        batch_size=batch_size,
        coupled=coupled,
        difference=difference,
        pen_rate=pen_rate,
        dtype=dtype,
    )
    return _common.rescheduled(single, inner_steps=inner_steps)
